"""All rivals, up at the same time: who is not asked costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import beside, rivals, workload
from tests.bench.rivals import Rival
from tests.bench.sink import sink
from tests.bench.stacks import running
from tests.bench.workload import Workload


@dataclass(frozen=True)
class World:
    """Our two topologies, and whom else they stand beside: the ceiling, other stacks, and the mesh without some of its parts.

    The mesh keeps its state in `data`.
    """

    work: Workload
    data: Path
    mesh: Rival
    monolith: Rival
    others: tuple[Rival, ...]

    @property
    def rivals(self) -> tuple[Rival, ...]:
        """Every rival, in the order of the tables."""
        return (*self.others, self.monolith, self.mesh)


@contextmanager
def open_world(directory: Path, *, alone: bool) -> Iterator[World]:
    """Start everything, but no others if we are `alone`; define the workload, and return when each of ours has answered."""
    made, data = directory / "workload", directory / "mesh"
    made.mkdir()
    work = workload.make(made)
    request = work.requests(1)[0][0]
    with ExitStack() as stack:
        stack.enter_context(sink(directory))
        mesh = stack.enter_context(rivals.running_up("mesh", data, "--triton", "off"))
        rivals.define(data, made)
        options = ("--triton", "off", "--topology", "monolith")
        monolith = stack.enter_context(rivals.running_up("monolith", directory / "monolith", *options))
        rivals.define(directory / "monolith", made)
        for rival in (mesh, monolith):
            rivals.await_answer(rival.target, request)
        others = () if alone else _others(stack, mesh, data, running.Parts(mesh.redis, made / "model.onnx"), work)
        yield World(work, data, mesh, monolith, others)


def _others(stack: ExitStack, mesh: Rival, data: Path, parts: running.Parts, work: Workload) -> tuple[Rival, ...]:
    parts.store(work)
    stacks = [stack.enter_context(other) for other in running.all_stacks(parts)]
    less = [
        stack.enter_context(other)
        for other in (beside.uncoalesced(mesh, data), beside.untraced(data), beside.bare(data))
    ]
    for rival in less:
        rivals.await_answer(rival.target, work.requests(1)[0][0])
    return (stack.enter_context(rivals.ceiling()), *stacks, *less)
