"""What commands print: tables on a terminal, aligned text elsewhere, JSON when asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message

Row = Sequence[object]


def print_json(value: object) -> None:
    """Print `value` and nothing else to stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def print_line(value: object) -> None:
    """Print `value` as one line of JSON to stdout, at once: a program may wait for it."""
    print(json.dumps(value), flush=True)


def print_yaml(value: object) -> None:
    """Print `value` as YAML, the innermost collections on one line each."""
    import yaml

    click.echo(yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=120), nl=False)


def plain(message: Message) -> dict[str, object]:
    """Return a message in protobuf's JSON mapping (64-bit integers are text), with the proto's field names."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)


def print_table(columns: Sequence[str], rows: Sequence[Row], empty: str = "nothing") -> None:
    """Print rows under their columns, or `empty` in parentheses if there are none."""
    if not rows:
        click.echo(f"({empty})")
        return
    texts = [[_text(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, texts)
    else:
        _print_aligned([list(columns), *texts])


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values, a pair a line; a value that is None or empty is left out."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        if value not in {None, ""}:
            click.echo(f"{click.style(name.ljust(width), dim=True)}  {value}")


def note(text: str) -> None:
    """Say something beside the result, on stderr."""
    click.echo(text, err=True)


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return "" if cell is None else str(cell)


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _print_aligned(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
