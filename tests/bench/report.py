"""The figures as a table beside their budgets, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from tests.bench import machine


@dataclass(frozen=True)
class Run:
    """One rival under one load, once."""

    rival: str
    callers: int
    rows: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]

    @property
    def total_cpu_us(self) -> float:
        """CPU of all its services, microseconds a call."""
        return sum(self.cpu_us.values())


@dataclass(frozen=True)
class Figure:
    """A measured value (median of the runs, with lowest and highest) beside its budget."""

    name: str
    values: Sequence[float]
    unit: str
    budget: float
    at_most: bool = True

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median keeps the budget."""
        return self.value <= self.budget if self.at_most else self.value >= self.budget


def of(runs: Sequence[Run], rival: str, callers: int, rows: int = 1) -> list[Run]:
    """Return the runs of a rival under a load, in the order they were made."""
    return [run for run in runs if (run.rival, run.callers, run.rows) == (rival, callers, rows)]


def show(runs: Sequence[Run], figures: Sequence[Figure]) -> None:
    """Print both tables."""
    for table in tables_of(runs, figures):
        console().print(table)


def tables_of(runs: Sequence[Run], figures: Sequence[Figure]) -> list[Table]:
    """Return what the runs came to, medians by load and rival, and the figures beside their budgets."""
    return [*([_loads(runs)] if runs else []), _budgets(figures)]


def _loads(runs: Sequence[Run]) -> Table:
    loads = Table(
        "callers", "rival", "answers/s", "p50 ms", "p99 ms", "CPU us", "by service", title="closed loop, one row"
    )
    for callers in sorted({run.callers for run in runs if run.rows == 1}):
        for rival in dict.fromkeys(run.rival for run in runs):
            found = of(runs, rival, callers)
            if found:
                loads.add_row(str(callers), rival, *_medians(found))
    return loads


def console() -> Console:
    """Return where tables are printed: as wide as they need to be where there is no terminal."""
    return Console(width=None if os.isatty(1) else 140)


def show_budgets(figures: Sequence[Figure]) -> None:
    """Print what was measured beside what it may be."""
    console().print(_budgets(figures))


def _budgets(figures: Sequence[Figure]) -> Table:
    budgets = Table("measure", "measured", "lowest to highest", "budget", "", title="budgets")
    for figure in figures:
        spread = f"{min(figure.values):.2f} to {max(figure.values):.2f}"
        budget = f"{'at most' if figure.at_most else 'at least'} {figure.budget:g} {figure.unit}"
        budgets.add_row(
            figure.name, f"{figure.value:.2f} {figure.unit}", spread, budget, "met" if figure.met else "MISSED"
        )
    return budgets


def _medians(runs: Sequence[Run]) -> list[str]:
    services = {service: median(run.cpu_us[service] for run in runs) for service in runs[0].cpu_us}
    return [
        f"{median(run.per_second for run in runs):,.0f}",
        f"{median(run.p50_ms for run in runs):.2f}",
        f"{median(run.p99_ms for run in runs):.2f}",
        f"{median(run.total_cpu_us for run in runs):,.0f}",
        ", ".join(f"{service} {cpu:,.0f}" for service, cpu in services.items()),
    ]


def write_tables(path: Path, tables: Sequence[Table]) -> None:
    """Write tables as Markdown, with what they were measured on."""
    with path.open("w") as file:
        page = Console(file=file, width=200)
        described = ", ".join(f"{name}: {value}" for name, value in machine.describe().items())
        page.print(described, soft_wrap=True, highlight=False)
        for table in tables:
            page.print(f"\n## {table.title}\n", highlight=False)
            table.title, table.box = None, MARKDOWN
            page.print(table)


def write(path: Path, runs: Sequence[Any], figures: Sequence[Figure], **others: Sequence[Any]) -> None:
    """Write everything that was measured, with what it was measured on; runs and others are dataclasses."""
    content: dict[str, Any] = {
        "machine": machine.describe(),
        "figures": [asdict(figure) | {"value": figure.value, "met": figure.met} for figure in figures],
        "runs": [asdict(run) for run in runs],
        **{name: [asdict(one) for one in found] for name, found in others.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
