"""How the shadows' answers agree with the callers', so far: totals by pair of versions, and the rows farthest off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from services.gateway.comparing import difference_bin

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from services.gateway.comparing import Comparison
    from services.gateway.routing import RoutingTable
    from services.gateway.target import KeyColumn, Output

MAX_EXAMPLES = 10


class Pair(NamedTuple):
    """The version that answered callers of an endpoint, and the one that was asked as well."""

    endpoint: str
    primary: str
    shadow: str


@dataclass(frozen=True, slots=True, eq=False)
class ShadowExample:
    """A row that was answered differently; outputs each with the row's values, [1, width]."""

    prediction_id: str
    row: int
    difference: float
    entities: tuple[tuple[KeyColumn, str | int], ...]
    primary: tuple[tuple[Output, npt.NDArray[np.generic]], ...]
    shadow: tuple[tuple[Output, npt.NDArray[np.generic]], ...]
    as_of_us: int


@dataclass(frozen=True, slots=True, eq=False)
class ShadowTotals:
    """What traffic.proto's ShadowTotals says, at one moment. `differences` are counts by bin; times in microseconds."""

    pair: Pair
    rows: int
    exact_rows: int
    tolerant_rows: int
    top1_rows: int
    ranked_rows: int
    errors: int
    dropped: int
    differences: Mapping[int, int]
    difference_sum: float
    worst: tuple[ShadowExample, ...]
    last_time_us: int


class Agreement:
    """The totals of one pair of versions."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._rows = self._exact = self._tolerant = self._top1 = self._ranked = self._errors = self._dropped = 0
        self._differences: Counter[int] = Counter()
        self._difference_sum = 0.0
        self._worst: list[ShadowExample] = []
        self._last_time_us = 0
        self._totals: ShadowTotals | None = None

    def add(self, found: Comparison, example: Callable[[int, float], ShadowExample], now_us: int) -> None:
        """Count rows that both versions answered; `example` is made of a row's index and difference if it is needed."""
        rows = len(found.exact)
        self._rows += rows
        self._exact += int(found.exact.sum())
        self._tolerant += int(found.tolerant.sum())
        if found.top1 is not None:
            self._ranked += rows
            self._top1 += int(found.top1.sum())
        self._difference_sum += float(found.signed.sum())
        self._last_time_us = now_us
        for index, difference in enumerate(found.differences.tolist()):
            self._differences[difference_bin(difference)] += 1
            if difference > self._least_worst():
                self._keep(example(index, difference))
        self._totals = None

    def failed(self) -> None:
        """Count a request that the shadow did not answer as the primary did, or not comparably."""
        self._errors += 1
        self._totals = None

    def left_out(self) -> None:
        """Count a request that the shadow was not asked."""
        self._dropped += 1
        self._totals = None

    def totals(self) -> ShadowTotals:
        """Return the totals now: the same object as long as nothing is counted."""
        if self._totals is None:
            self._totals = ShadowTotals(
                pair=self.pair,
                rows=self._rows,
                exact_rows=self._exact,
                tolerant_rows=self._tolerant,
                top1_rows=self._top1,
                ranked_rows=self._ranked,
                errors=self._errors,
                dropped=self._dropped,
                differences=dict(sorted(self._differences.items())),
                difference_sum=self._difference_sum,
                worst=tuple(self._worst),
                last_time_us=self._last_time_us,
            )
        return self._totals

    def _least_worst(self) -> float:
        return self._worst[-1].difference if len(self._worst) == MAX_EXAMPLES else 0.0

    def _keep(self, example: ShadowExample) -> None:
        """Keep the farthest off, largest first; of equal ones those that came first."""
        self._worst.append(example)
        self._worst.sort(key=lambda kept: kept.difference, reverse=True)
        del self._worst[MAX_EXAMPLES:]


class Agreements:
    """The totals of every pair that was compared since the process started, for those who report them.

    What is not defined any more is forgotten, as the registry does.
    """

    def __init__(self) -> None:
        self._log_id = ""
        self._all: dict[Pair, Agreement] = {}
        self._taken: dict[Pair, ShadowTotals] = {}

    def use(self, table: RoutingTable) -> None:
        """Keep the totals of the endpoints and versions of `table`; none of another log, which names others alike."""
        same_log, self._log_id = table.log_id == self._log_id, table.log_id
        self._all = {pair: found for pair, found in self._all.items() if same_log and _is_defined(pair, table)}
        self._taken = {pair: taken for pair, taken in self._taken.items() if pair in self._all}

    def of(self, pair: Pair) -> Agreement:
        """Return the totals of a pair, to be counted in."""
        found = self._all.get(pair)
        if found is None:
            found = self._all[pair] = Agreement(pair)
        return found

    def changed(self) -> Sequence[ShadowTotals]:
        """Return the totals that differ from those that were taken last."""
        totals = (agreement.totals() for agreement in self._all.values())
        return [current for current in totals if self._taken.get(current.pair) is not current]

    def taken(self, totals: Sequence[ShadowTotals]) -> None:
        """Note that these have arrived."""
        self._taken.update({each.pair: each for each in totals if each.pair in self._all})


def _is_defined(pair: Pair, table: RoutingTable) -> bool:
    endpoint = table.endpoints.get(pair.endpoint)
    return endpoint is not None and {pair.primary, pair.shadow} <= endpoint.versions.targets.keys()
