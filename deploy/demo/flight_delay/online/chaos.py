"""Kills Triton once in mid-replay, and tells whether anybody but the report noticed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.flight_delay.online.answers import Answers
from deploy.demo.flight_delay.online.triton import TRITON
from services.cli.targets import read_up

# Later than the end of a step of time, so that calls of the next one are under way.
_DELAY_S = 0.003


class Chaos:
    """Kills (SIGKILL) the Triton that `up` runs on `data`, while calls are under way, after so many departures."""

    def __init__(self, data: Path, after: int) -> None:
        self._data, self.after = data, after
        self._done = 0
        self._planned: asyncio.TimerHandle | None = None
        self.killed_s: float | None = None
        self.settled_s: float | None = None

    def advance(self, departures: int) -> None:
        """Count departures that are done; no call is under way. Called in the event loop of the replay."""
        self._done += departures
        if self.killed_s is not None and self.settled_s is None:
            # What was under way at the kill has been answered by now: later answers are of another Triton.
            self.settled_s = time.perf_counter()
        if self._done >= self.after and self._planned is None:
            self._planned = asyncio.get_running_loop().call_later(_DELAY_S, self._kill)

    def _kill(self) -> None:
        for pid in read_up(self._data).get("pids", {}).get(TRITON, []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed_s = time.perf_counter()


@dataclass(frozen=True)
class ChaosSummary:
    """What came of the kill, of the versions that Triton computes.

    Rows that another runtime computed and said so (`stood_in`) or did not (`silent`), and those that Triton computed
    since it was killed (`returned`). `returned_s` is the time from the kill to the first of these, None without one.
    """

    killed_after: int
    killed: bool
    stood_in: int
    silent: int
    returned: int
    returned_s: float | None

    def problems(self) -> Sequence[str]:
        """Return what is not as it must be."""
        if not self.killed:
            return ["Triton was not killed: it did not run, or the replay was over"]
        checks = {
            "no row was answered in Triton's place after it was killed": self.stood_in > 0,
            f"{self.silent} rows were answered in Triton's place and do not say so": self.silent == 0,
            "Triton was killed, and answered no row from then until the end": self.returned > 0,
        }
        return [problem for problem, holds in checks.items() if not holds]


def summarize_chaos(chaos: Chaos, answers: Mapping[str, Answers]) -> ChaosSummary:
    """Return what came of the kill, over the answers of all versions."""
    killed_s = math.inf if chaos.killed_s is None else chaos.killed_s
    settled_s = math.inf if chaos.settled_s is None else chaos.settled_s
    concerned = [each for each in answers.values() if any(by.runtime == TRITON for by in each.computed)]
    rows = [row for each in concerned for row in zip(each.moments, each.computed, strict=True)]
    back = [moment for moment, by in rows if by.runtime == TRITON and moment > settled_s]
    others = [by for _, by in rows if by.runtime != TRITON]
    return ChaosSummary(
        killed_after=chaos.after,
        killed=chaos.killed_s is not None,
        stood_in=sum(bool(by.reason) for by in others),
        silent=sum(not by.reason for by in others),
        returned=len(back),
        returned_s=min(back) - killed_s if back else None,
    )
