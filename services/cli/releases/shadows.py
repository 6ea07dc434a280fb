"""How the answers of a shadow compare with those that callers got, for people."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import click

from predictmesh.registry.v1.traffic_pb2 import Histogram, ShadowExample, ShadowTotals
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.output import print_pairs, print_table
from services.cli.values import values_of

QUANTILES = (0.5, 0.9, 0.99, 0.999)
_LAST_BIN = 81


def print_comparison(totals: ShadowTotals, requests: Sequence[str]) -> None:
    """Print how two versions compare, and the rows that are farthest off.

    `requests` are the names of the request-time features that the shadow takes.
    """
    rows = totals.rows
    print_pairs(
        {
            "shadow": f"{totals.shadow} beside {totals.primary} at {totals.endpoint}",
            "compared": f"{rows:,} rows, the last {totals.last_time.ToJsonString()}",
            "exact": _share(totals.exact_rows, rows),
            "in tolerance": _share(totals.tolerant_rows, rows),
            "same top-1": _share(totals.top1_rows, totals.ranked_rows) if totals.ranked_rows else "",
            "off by": ", ".join(_quantiles(totals.differences)),
            "mean": f"{totals.difference_sum / rows:+.4g} (shadow less answered, first element)" if rows else "",
            "failed": f"{totals.errors:,} requests",
            "left out": f"{totals.dropped:,} requests, as too many were under way",
        }
    )
    if totals.worst:
        click.echo()
        print_table(
            ["prediction", "row", "keys", "answered", "shadow", "off by"],
            [_example_row(example) for example in totals.worst],
        )
        click.echo(f"\n{explain_command(totals, totals.worst[0], requests)}")


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.4g} % ({count:,} of {total:,})" if total else "nothing yet"


def _quantiles(differences: Histogram) -> list[str]:
    found = ((share, quantile(differences, share)) for share in QUANTILES)
    return [
        f"p{100 * share:g} {'over 1e+10' if math.isinf(bound) else f'{bound:.2g} at most'}"
        for share, bound in found
        if bound is not None
    ]


def quantile(differences: Histogram, share: float) -> float | None:
    """Return what so large a share of the rows is off by at most; None without rows.

    Bins are of traffic.proto: known to a factor of 1.8, of which this is the upper end.
    """
    total = sum(differences.counts)
    reached = 0
    for number, count in zip(differences.bins, differences.counts, strict=True):
        reached += count
        if reached >= share * total:
            return _upper_edge(number)
    return None


def _upper_edge(number: int) -> float:
    if number == 0:
        return 0.0
    return math.inf if number >= _LAST_BIN else float(10 ** ((number - 40) / 4))


def _example_row(example: ShadowExample) -> tuple[object, ...]:
    keys = ", ".join(f"{key}={value}" for key, value in _keys(example))
    return (
        example.prediction_id,
        example.row,
        keys,
        _outputs(example.primary),
        _outputs(example.shadow),
        f"{example.difference:.4g}",
    )


def _keys(example: ShadowExample) -> list[tuple[str, object]]:
    return [(tensor.name, value) for tensor in example.entities for value in values_of(tensor)[:1]]


def _outputs(tensors: Sequence[Tensor]) -> str:
    return "; ".join(", ".join(map(_text, values_of(tensor))) for tensor in tensors)


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def explain_command(totals: ShadowTotals, example: ShadowExample, requests: Sequence[str]) -> str:
    """Return the command that shows what the shadow made of a row; request-time values are left to fill in."""
    line = ["predictmesh", "explain", totals.endpoint, "--version", totals.shadow]
    for key, value in _keys(example):
        line += ["--entity", f"{key}={value}"]
    if example.HasField("as_of"):
        line += ["--as-of", example.as_of.ToJsonString()]
    for name in requests:
        line += ["--feature", f"{name}=..."]
    return shlex.join(line)
