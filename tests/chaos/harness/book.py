"""The verdicts of a run, for people to read at its end."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.harness.verdict import Verdict

HEADER = "asked  answered  degraded  left  failed  coped  recovered  downstream  writes  growth  trial"


@dataclass
class Book:
    """One line a trial."""

    lines: list[str] = field(default_factory=list)

    def enter(self, verdict: Verdict) -> None:
        """Write a verdict down under the name of the test that runs."""
        name = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0].partition("chaos/")[2]
        taken = ", while others took the machine" if verdict.machine_taken else ""
        self.lines.append(f"{line(verdict)}  {name}{taken}")
        if verdict.failed:
            self.lines.append(f"{'':11}{shown(Counter(verdict.failed), 4)}")


def line(verdict: Verdict) -> str:
    """A verdict in columns below HEADER."""
    figures = (
        f"{verdict.predictions:>5}",
        f"{verdict.answered:>8}",
        f"{sum(verdict.degraded.values()):>8}",
        f"{verdict.left:>4}",
        f"{verdict.failed_predictions:>6}",
        f"{verdict.coped_s:>3.1f} s",
        f"{verdict.recovered_s:>7.1f} s",
        f"{max(verdict.downstream.values(), default=0):>10.2f}",
        f"{verdict.acknowledged:>6}",
        f"{max(verdict.growth_mib.values(), default=0):>2.0f} MiB",
    )
    return "  ".join(figures)


def shown(counts: Counter[Any], most: int) -> str:
    """The most frequent of what was counted, in words."""
    return ", ".join(
        f"{count} {' '.join(key) if isinstance(key, tuple) else key}" for key, count in counts.most_common(most)
    )
