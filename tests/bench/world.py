"""All rivals, up at the same time: who is not asked costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import beside, rivals, workload
from tests.bench.rivals import Rival
from tests.bench.stacks import running
from tests.bench.workload import Workload


@dataclass(frozen=True)
class World:
    """Ours, the ceiling, and `stacks`, which do the same work without us. The mesh keeps its state in `data`."""

    work: Workload
    data: Path
    ceiling: Rival
    mesh: Rival
    bare: Rival
    monolith: Rival
    uncoalesced: Rival
    stacks: tuple[Rival, ...]

    @property
    def rivals(self) -> tuple[Rival, ...]:
        """Every rival, in the order of the tables."""
        return (self.ceiling, *self.stacks, self.uncoalesced, self.monolith, self.bare, self.mesh)


@contextmanager
def open_world(directory: Path) -> Iterator[World]:
    """Start everything, define the workload, and return when each has answered once."""
    made, data = directory / "workload", directory / "mesh"
    made.mkdir()
    work = workload.make(made)
    with ExitStack() as stack:
        mesh = stack.enter_context(rivals.running_up("mesh", data, "--triton", "off"))
        rivals.define(data, made)
        options = ("--triton", "off", "--topology", "monolith")
        monolith = stack.enter_context(rivals.running_up("monolith", directory / "monolith", *options))
        rivals.define(directory / "monolith", made)
        uncoalesced = stack.enter_context(beside.uncoalesced(mesh, data))
        bare = stack.enter_context(beside.bare(data))
        parts = running.Parts(mesh.redis, made / "model.onnx")
        parts.store(work)
        stacks = tuple(stack.enter_context(other) for other in running.all_stacks(parts))
        world = World(work, data, stack.enter_context(rivals.ceiling()), mesh, bare, monolith, uncoalesced, stacks)
        request = work.requests(1)[0][0]
        for rival in (mesh, monolith, uncoalesced, bare):
            rivals.await_answer(rival.target, request)
        yield world
