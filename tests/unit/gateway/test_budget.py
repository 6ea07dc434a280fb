"""A batch's time is shared between its hops, so that one that hangs leaves the later ones the time that they need."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.lane import Lane
from services.gateway.prediction import FeatureRows, Inference
from services.gateway.request import Member
from services.gateway.target import Target
from services.mesh.deadline import Deadline
from tests.support.predictions import MemoryFeatures, MemoryModel, column, member, target, view
from tests.support.virtual_time import run_virtually

AIM = target({"x:FP32": ["rider:a"]}, view("rider", "a:FP32"))
MODEL_S = 0.03


class SlowFeatures(MemoryFeatures):
    """Answers after so many seconds, but no later than 5 ms before the call's deadline."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def get(
        self, target: Target, keys: Sequence[Sequence[str] | Sequence[int]], as_of_us: Sequence[int], deadline: Deadline,
        *, want_origins: bool,
    ) -> FeatureRows:  # fmt: skip
        """Answer as a feature service whose store is slow."""
        await asyncio.sleep(max(0.0, min(self.seconds, deadline.remaining() - 0.005)))
        return await super().get(target, keys, as_of_us, deadline, want_origins=want_origins)


class SlowModel(MemoryModel):
    """Answers after MODEL_S."""

    async def infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        """Answer as a model that computes for a while."""
        await asyncio.sleep(MODEL_S)
        return await super().infer(target, tensors, remaining_ms, deadline)


def asking(seconds: float) -> Member:
    """A request with so much time."""
    return member(AIM, column("rider_id", "a"), seconds=seconds)


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0])
def test_a_store_that_hangs_leaves_the_model_its_time(seconds: float) -> None:
    """What the feature service answers at the end of its time still makes an answer."""

    async def go() -> None:
        features = SlowFeatures(0.001)
        lane = Lane(AIM, features, SlowModel(), max_rows=8, max_queued_rows=10, measured=False)
        for _ in range(500):
            await lane.answer(asking(seconds))
        features.seconds = 1e9
        for _ in range(20):
            made = asking(seconds)
            assert [[1.0]] == (await lane.answer(made)).outputs[0].tolist()
            assert made.deadline.remaining() >= 0

    run_virtually(go())


def test_features_that_need_most_of_the_time_get_it() -> None:
    """A model that once was slow does not take time from features that have never been quick."""

    async def go() -> None:
        features = SlowFeatures(0.06)
        lane = Lane(AIM, features, MemoryModel(), max_rows=8, max_queued_rows=10, measured=False)
        for _ in range(50):
            assert [[1.0]] == (await lane.answer(asking(0.1))).outputs[0].tolist()

    run_virtually(go())
