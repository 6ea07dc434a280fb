"""The course of the releases: what a person sets going, and what comes of it while the departures go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import uvloop

from deploy.demo.flight_delay.definitions import RECORDING
from deploy.demo.flight_delay.online.session import channel, writing
from deploy.demo.flight_delay.online.slices import Slice, slices
from deploy.demo.flight_delay.release.board import BOARD, Board
from deploy.demo.flight_delay.release.control import UNDER_WAY, Control
from deploy.demo.flight_delay.release.definitions import BETTER, BROKEN, HERE, define, read_plan, register_broken
from deploy.demo.flight_delay.release.summary import (
    Releases,
    ReleaseSummary,
    ShadowSummary,
    summarize_quality,
    summarize_release,
    summarize_shadow,
)
from deploy.demo.flight_delay.replay import Recording
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.registry.v1.release_pb2 import QualityMetric, Release, ReleasePlan, ReleaseState
from services.cli.errors import Failure
from services.cli.labels import words
from services.cli.options import Services

TOLERANCE = 0.01
"""Two probabilities that are as good as one."""
_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Script:
    """What happens: how both releases go, and which version is the broken one.

    `shadowed` departures, about, are shown to it in the shadow; a release has `most` to come to an end.
    """

    plan: ReleasePlan = field(default_factory=read_plan)
    broken: Path = HERE / f"{BROKEN}.yaml"
    shadowed: int = 500
    most: int = 10_000


def play_releases(
    services: Services,
    trained: Path,
    start: int,
    announce: Callable[[str], None],
    script: Script | None = None,
) -> Releases:
    """Go on with the recording at `start`, where the store is, until both releases have come to an end.

    `announce` is called with each step that is done. Failure if the first candidate is not promoted.
    """
    define(services)
    announce(f"{BOARD} is answered by 1.0.0, and told what came true of each flight once it has left")
    recording = Recording(trained / RECORDING)
    parts = slices(recording.replay(len(recording), start))
    return uvloop.run(_play(services, trained, parts, announce, script or Script()))


async def _play(
    services: Services,
    trained: Path,
    parts: Iterator[Slice],
    announce: Callable[[str], None],
    script: Script,
) -> Releases:
    start = time.perf_counter()
    async with _course(services, parts, announce, script) as course:
        promoted = await course.release(BETTER, "better offline")
        if promoted.state != "promoted":
            raise Failure(f"{BETTER} was not promoted after {promoted.requests:,} departures: {promoted.reason}")
        await asyncio.to_thread(register_broken, services, trained, script.broken)
        announce(f"{BROKEN} registered: the model of {BETTER}, with two of its inputs swapped; it passes every gate")
        shadow = await course.shadow(BROKEN)
        rolled_back = await course.release(BROKEN, "the model of 1.1.0, bound anew")
        return await course.end(promoted, shadow, rolled_back, time.perf_counter() - start)


class Course:
    """A caller and a person at the controls, over the same departures."""

    def __init__(
        self,
        board: Board,
        control: Control,
        parts: Iterator[Slice],
        announce: Callable[[str], None],
        script: Script,
    ) -> None:
        self._board, self._control = board, control
        self._hours = (hour for _, hour in groupby(parts, lambda part: part.departures[0].as_of // _HOUR))
        self._announce, self._script = announce, script

    async def release(self, candidate: str, reason: str) -> ReleaseSummary:
        """Start the release of `candidate`, and follow it to its end.

        Once an hour of the replay one waits until registry and gateway are as far as they would be by then: their
        seconds are hours here. Whatever they decide, they decide by themselves.
        """
        told = await self._control.start(candidate, self._script.plan, reason)
        left = self._script.most
        self._tell(told)
        while told.state in UNDER_WAY and left > 0 and (passed := await self._pass_hour()):
            left -= passed
            release = (await self._control.caught_up(self._board.tally)).release
            if (release.state, release.step) != (told.state, told.step):
                self._tell(release)
            told = release
        return summarize_release(await self._control.caught_up(self._board.tally), self._board.tally)

    async def shadow(self, version: str) -> ShadowSummary:
        """Let `version` answer as a shadow for a while, and return how it compares."""
        await self._control.shadow(version, TOLERANCE)
        before, asked = self._board.tally.answers.total(), 0
        while asked < self._script.shadowed and await self._pass_hour():
            asked = self._board.tally.answers.total() - before
        found = summarize_shadow(await self._control.compared(version, asked), TOLERANCE)
        await self._control.shadow("", TOLERANCE)
        self._announce(
            f"{version} in the shadow of {found.primary}: {found.agreeing:,} of {found.rows:,} answers agree "
            f"to {TOLERANCE:g}; which is the better one, the shadow cannot tell"
        )
        return found

    async def end(
        self, promoted: ReleaseSummary, shadow: ShadowSummary, rolled_back: ReleaseSummary, seconds: float
    ) -> Releases:
        """Return the summary of everything."""
        tally = self._board.tally
        quality = await self._control.quality(tally)
        return Releases(
            metric=words(QualityMetric.Name, "QUALITY_METRIC_", self._script.plan.quality.metric),
            promoted=promoted,
            shadow=shadow,
            rolled_back=rolled_back,
            quality=summarize_quality(quality.versions),
            answered_by=await self._control.answering(),
            departures=self._board.asked,
            requests=tally.answers.total(),
            outcomes=tally.outcomes.total(),
            awaited=self._board.awaited,
            failures=dict(tally.failures),
            seconds=seconds,
        )

    async def _pass_hour(self) -> int:
        """Play the next hour that has departures; return how many, 0 at the end of the recording."""
        return await self._board.play(next(self._hours, ()))

    def _tell(self, release: Release) -> None:
        share = f"{release.plan.steps[release.step]:g} %"
        texts = {
            ReleaseState.RELEASE_STATE_RUNNING: f"{release.candidate} answers {share} in place of {release.stable}",
            ReleaseState.RELEASE_STATE_HELD: f"{release.candidate} is held at {share}",
            ReleaseState.RELEASE_STATE_PROMOTED: f"{release.candidate} promoted",
            ReleaseState.RELEASE_STATE_ROLLED_BACK: f"{release.candidate} rolled back at {share}",
        }
        # A guard a line.
        self._announce("\n            ".join([texts[release.state], *release.reason.split("; ")]).rstrip())


@asynccontextmanager
async def _course(
    services: Services,
    parts: Iterator[Slice],
    announce: Callable[[str], None],
    script: Script,
) -> AsyncIterator[Course]:
    targets = services.grpc("registry"), services.grpc("gateway")
    async with channel(targets[0]) as registry, channel(targets[1]) as gateway, writing(services) as writer:
        board = Board(PredictionServiceStub(gateway), writer)
        yield Course(board, Control(registry, gateway, targets), parts, announce, script)
