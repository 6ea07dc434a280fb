"""The gateway as somebody writes it who knows his nodes: a plain version's call to the model service becomes the nodes' calls.

No graph, no states, no path in the answer: numpy between the calls, and the rest is the same code. That is what the nodes
themselves cost, called from where a composition calls them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from services.gateway import server
from services.gateway.clients import ModelClient
from services.gateway.prediction import Inference
from services.gateway.server import build
from services.gateway.settings import Settings
from services.gateway.target import Input, Output, Target
from services.mesh.deadline import Deadline
from services.mesh.lifecycle import main

Infer = Callable[[Target, Sequence[bytes]], Awaitable[Inference]]


class ByHand(ModelClient):
    """Calls the nodes in place of the versions that stand for them; other versions as they are."""

    async def infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        """Return what the nodes come to."""

        async def infer(node: Target, given: Sequence[bytes]) -> Inference:
            return await super(ByHand, self).infer(node, given, remaining_ms, deadline)

        _, _, name = target.model.rpartition("/")
        match name:
            case "mean-of-2-by-hand":
                return await _mean(infer, target, tensors, ("one", "two"))
            case "mean-of-4-by-hand":
                return await _mean(infer, target, tensors, ("one", "two", "three", "four"))
            case "pipeline-by-hand":
                return await _chain(infer, target, tensors)
            case _:
                return await infer(target, tensors)


async def _mean(infer: Infer, target: Target, tensors: Sequence[bytes], members: Sequence[str]) -> Inference:
    answers = await asyncio.gather(*(infer(_named(target, member), tensors) for member in members))
    first = answers[0]
    mean = np.mean(np.stack([answer.outputs[0] for answer in answers]).astype(np.float64), axis=0)
    failed = {row: code for answer in answers for row, code in answer.failed_rows.items()}
    return Inference([np.asarray(mean, np.float32)], failed, first.sources, first.row_source)


async def _chain(infer: Infer, target: Target, tensors: Sequence[bytes]) -> Inference:
    scaled = await infer(_before(target), tensors)
    raw = await infer(_named(target, "scorer"), [scaled.outputs[0].tobytes()])
    answer = await infer(_after(target), [raw.outputs[0].tobytes()])
    answer.failed_rows = scaled.failed_rows | raw.failed_rows | answer.failed_rows
    return answer


@cache
def _named(target: Target, name: str) -> Target:
    namespace, _, _ = target.model.rpartition("/")
    return replace(target, model=f"{namespace}/{name}")


@cache
def _before(target: Target) -> Target:
    [feed], [score] = target.inputs, target.outputs
    scaled = Output("scaled_features", score.dtype, feed.shape, feed.width, finite=False)
    return replace(_named(target, "before"), outputs=(scaled,))


@cache
def _after(target: Target) -> Target:
    [score] = target.outputs
    raw = Input("raw_score", score.dtype, score.shape, score.width, finite=False, sources=(), plan_index=None)
    return replace(_named(target, "after"), inputs=(raw,))


if __name__ == "__main__":
    vars(server)["ModelClient"] = ByHand
    main(Settings, build)
