from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from tenacity import wait_fixed

from services.mesh.errors import InvalidArgument, NotReady, UpstreamUnavailable
from services.model import station
from services.model.artifacts import Artifacts
from services.model.calls import Source
from services.model.convert import decode_golden
from services.model.datatypes import Array
from services.model.engine import Engine
from services.model.errors import InvalidArtifact, UnknownModel, UnknownVersion, VersionNotLoaded
from services.model.golden import GoldenSets
from services.model.loader import Loader
from services.model.schedule import Limits
from services.model.statuses import GoldenState, RuntimeStatus, State, StatusBoard
from services.model.versions import Artifact, Catalog, GoldenSet, Signature, TensorSpec, Version
from tests.support.gated_model import GatedRuntime
from tests.support.golden import golden_set
from tests.support.stations import call
from tests.support.waiting import eventually

SIGNATURE = Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", ()),))


@dataclass
class World:
    """An engine over a gated runtime, whose versions answer the number that they were made with."""

    engine: Engine
    runtime: GatedRuntime
    triton: GatedRuntime
    stored: dict[str, bytes]
    directory: Path
    fetched: list[str] = field(default_factory=list)

    def version(self, number: float, version: str = "1.0.0", model: str = "m", runtime: str = "onnx") -> Version:
        content = str(number).encode()
        digest = hashlib.sha256(content).hexdigest()
        self.stored[digest] = content
        return Version(model, version, digest, SIGNATURE, (Artifact(runtime, digest),))

    async def answer(self, version: str = "", model: str = "m") -> float:
        with self.engine.find(model, version) as serving:
            return float((await serving.infer(call(0))).outputs["y"][0])

    def on_both(self, number: float) -> Version:
        """Make a version whose first choice is triton."""
        version = self.version(number)
        [artifact] = version.artifacts
        return replace(version, artifacts=(replace(artifact, runtime="triton"), artifact))

    async def source(self) -> Source:
        with self.engine.find("m", "") as serving:
            return (await serving.infer(call(0))).sources[0]

    def by_runtime(self) -> dict[str, State]:
        return {status.runtime: status.state for status in self.engine.board.current}

    def states(self) -> dict[str, State]:
        return {f"{status.model}@{status.version}": status.state for status in self.engine.board.current}

    def with_golden(self, number: float, recorded: float, runtime: str = "onnx") -> Version:
        """Make a version that answers x + `number`, and `recorded` for a 0 by its golden set."""
        zero = np.zeros(1, np.float32)
        content = golden_set({"x": zero}, {"y": zero + np.float32(recorded)})
        digest = hashlib.sha256(content).hexdigest()
        self.stored[digest] = content
        return replace(self.version(number, runtime=runtime), golden=GoldenSet(digest))

    def golden(self) -> list[GoldenState]:
        return [status.golden for status in self.engine.board.current]

    async def reach(self, **states: State) -> None:
        wanted = {f"m@{name.removeprefix('v').replace('_', '.')}": state for name, state in states.items()}
        await eventually(lambda: self.states() == wanted)


def _catalog(versions: Sequence[Version]) -> Catalog:
    models = {version.model for version in versions}
    return {model: tuple(version for version in versions if version.model == model) for model in models}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An engine, closed at the end."""
    stored: dict[str, bytes] = {}
    fetched: list[str] = []

    async def fetch(sha256: str) -> bytes:
        fetched.append(sha256)
        return stored[sha256]

    runtime, triton = GatedRuntime(), GatedRuntime("triton")
    artifacts = Artifacts(tmp_path, fetch)
    golden_sets = GoldenSets(artifacts, decode_golden)
    runtimes = {"onnx": runtime, "triton": triton}
    loader = Loader(runtimes, artifacts, golden_sets, Limits(32, 64), parallel=2, timeout_s=5)
    engine = Engine(loader, wait_fixed(0.01))
    yield World(engine, runtime, triton, stored, tmp_path, fetched)
    runtime.gate.set()
    await engine.close()


async def test_what_the_snapshot_names_is_loaded_and_answers(world: World) -> None:
    """Each version answers for itself, the newest for calls without one."""
    world.engine.use(_catalog([world.version(1, "1.9.0"), world.version(2, "1.10.0"), world.version(3, "1.2.0")]))
    await world.reach(v1_9_0=State.READY, v1_10_0=State.READY, v1_2_0=State.READY)
    assert [1, 2, 3, 2] == [await world.answer(version) for version in ("1.9.0", "1.10.0", "1.2.0", "")]
    assert ["1.2.0", "1.9.0", "1.10.0"] == world.engine.versions_answering("m")


async def test_what_the_snapshot_no_longer_names_is_closed(world: World) -> None:
    """It leaves the index, the model and the disk."""
    world.engine.use(_catalog([world.version(1), world.version(2, "2.0.0")]))
    await world.reach(v1_0_0=State.READY, v2_0_0=State.READY)
    world.engine.use(_catalog([world.version(1)]))
    with pytest.raises(UnknownVersion):
        world.engine.find("m", "2.0.0")
    await world.reach(v1_0_0=State.READY)
    assert 1 == await world.answer()
    assert [False, True] == sorted(model.closed for model in world.runtime.loaded)
    await eventually(lambda: 1 == len(list(world.directory.iterdir())))


async def test_a_version_is_not_closed_before_its_calls_have_ended(world: World) -> None:
    """It takes no new calls meanwhile, and says that it is unloading."""
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    [model] = world.runtime.loaded
    model.gate.clear()
    answer = asyncio.create_task(world.answer())
    await eventually(lambda: len(model.batches[-1]) == 1 and world.engine.servings()[0].counters.rows_in_flight == 1)
    world.engine.use({})
    await world.reach(v1_0_0=State.UNLOADING)
    with pytest.raises(UnknownModel):
        world.engine.find("m", "1.0.0")
    assert not model.closed
    model.gate.set()
    assert 1 == await answer
    await world.reach()
    assert model.closed


async def test_a_version_is_not_closed_before_its_batches_have_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that fails by one batch leaves another behind, for which nobody waits: it is cancelled first."""
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    [model] = world.runtime.loaded
    seen: list[str] = []

    async def infer(inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        seen.append("asked")
        if len(seen) == 1:
            await eventually(lambda: len(seen) == 2)
            raise InvalidArgument("values")
        try:
            return await asyncio.Future()
        finally:
            seen.append("ended when closed" if model.closed else "ended")

    model.parallel = 2
    monkeypatch.setattr(model, "infer", infer)
    with world.engine.find("m", "") as serving, pytest.raises(InvalidArgument):
        await serving.infer(call(*range(64)))
    world.engine.use({})
    await world.reach()
    assert model.closed
    assert ["asked", "asked", "ended"] == seen


async def test_new_content_of_a_version_takes_over_without_a_gap(world: World) -> None:
    """The old content answers until the new one is warm, and is closed when its last call has ended."""
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    world.runtime.gate.clear()
    world.engine.use(_catalog([world.version(2)]))
    await eventually(lambda: world.runtime.loading == 1)
    assert 1 == await world.answer("1.0.0")
    old = world.runtime.loaded[0]
    old.gate.clear()
    slow = asyncio.create_task(world.answer())
    await eventually(lambda: world.engine.servings()[0].counters.rows_in_flight == 1)
    world.runtime.gate.set()
    await world.reach(v1_0_0=State.READY)
    assert 2 == await world.answer("1.0.0")
    assert not old.closed
    old.gate.set()
    assert 1 == await slow
    await eventually(lambda: old.closed)


async def test_a_version_that_fails_says_why_and_touches_no_other(world: World) -> None:
    """Unknown bytes, wrong bytes and an unknown runtime are each told, while the good version answers."""
    good, absent, wrong = world.version(1), world.version(2, "2.0.0"), world.version(3, "3.0.0")
    del world.stored[absent.digest]
    world.stored[wrong.digest] = b"other"
    world.engine.use(_catalog([good, absent, wrong, world.version(4, "4.0.0", runtime="tensorrt_plan")]))
    await eventually(lambda: sorted(state.name for state in world.states().values()) == ["FAILED"] * 3 + ["READY"])
    messages = {status.version: status.message for status in world.engine.board.current}
    assert "no artifact" in messages["2.0.0"]
    assert "bytes of digest" in messages["3.0.0"]
    assert "no runtime 'tensorrt_plan'" in messages["4.0.0"]
    assert 1 == await world.answer()
    with pytest.raises(VersionNotLoaded):
        world.engine.find("m", "2.0.0")


async def test_a_version_that_failed_is_tried_again(world: World) -> None:
    """Until it succeeds, also after a failure that nobody foresaw."""
    world.runtime.failures = [InvalidArtifact("bad"), OSError("disk full"), RuntimeError("surprise")]
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    assert [] == world.runtime.failures
    assert 1 == await world.answer()


async def test_a_changed_definition_is_tried_at_once(world: World) -> None:
    """A fix does not wait for the backoff of what it fixes."""
    engine = Engine(world.engine._loader, wait_fixed(3600))
    world.runtime.failures = [InvalidArtifact("bad")]
    engine.use(_catalog([world.version(1)]))
    await eventually(lambda: [State.FAILED] == [status.state for status in engine.board.current])
    engine.use(_catalog([world.version(2)]))
    await eventually(lambda: [State.READY] == [status.state for status in engine.board.current])
    await engine.close()


async def test_old_content_keeps_answering_while_new_content_fails(world: World) -> None:
    """The status says both."""
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    world.runtime.failures = [InvalidArtifact("bad")] * 1000
    world.engine.use(_catalog([world.version(2)]))
    await world.reach(v1_0_0=State.FAILED)
    assert "keeps answering" in world.engine.board.current[0].message
    assert 1 == await world.answer()


async def test_the_health_of_old_content_says_nothing_of_new_content(world: World) -> None:
    """What is still loading is neither failed nor ready by what answers meanwhile."""
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    world.runtime.gate.clear()
    world.engine.use(_catalog([world.version(2)]))
    await world.reach(v1_0_0=State.LOADING)
    [old] = world.runtime.loaded
    old.failure = UpstreamUnavailable("away")
    with pytest.raises(VersionNotLoaded):
        await world.answer()
    assert {"m@1.0.0": State.LOADING} == world.states()
    old.failure = None
    await eventually(lambda: world.engine.servings()[0].stations[0].well)
    assert {"m@1.0.0": State.LOADING} == world.states()
    world.runtime.gate.set()
    await world.reach(v1_0_0=State.READY)
    assert 2 == await world.answer()


async def test_content_that_is_wanted_again_before_other_has_come_is_kept(world: World) -> None:
    """It is there: to load it anew would put a second one beside it."""
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    world.runtime.failures = [InvalidArtifact("bad")] * 1000
    world.engine.use(_catalog([world.version(2)]))
    await world.reach(v1_0_0=State.FAILED)
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    assert world.version(1).digest == world.engine.board.current[0].digest
    assert 1 == await world.answer()
    assert [False] == [model.closed for model in world.runtime.loaded]


async def test_a_runtime_that_hangs_while_it_loads_holds_up_no_other(world: World) -> None:
    """The fallback of every version comes up, however many wait for their first choice."""
    world.triton.gate.clear()
    world.engine.use(_catalog([replace(world.on_both(number), version=f"{number}.0.0") for number in (1, 2, 3)]))
    await eventually(lambda: 3 == len(world.runtime.loaded), within_s=4)
    assert [1, 2, 3] == [await world.answer(f"{number}.0.0") for number in (1, 2, 3)]
    world.triton.gate.set()


async def test_a_version_that_left_while_it_loaded_leaves_nothing(world: World) -> None:
    """Loading stops, and a version of that name can come back at once."""
    world.runtime.gate.clear()
    world.engine.use(_catalog([world.version(1)]))
    await eventually(lambda: world.runtime.loading == 1)
    world.engine.use({})
    await eventually(lambda: world.runtime.loading == 0)
    world.engine.use(_catalog([world.version(2)]))
    world.runtime.gate.set()
    await world.reach(v1_0_0=State.READY)
    assert 2 == await world.answer()


async def test_readiness_waits_for_the_first_snapshot_to_be_loaded_or_to_have_failed(world: World) -> None:
    """Later versions load without making the process unready."""
    assert "no snapshot yet" == world.engine.not_ready()
    with pytest.raises(NotReady):
        world.engine.find("m", "1.0.0")
    bad = world.version(2, "2.0.0")
    del world.stored[bad.digest]
    world.runtime.gate.clear()
    world.engine.use(_catalog([world.version(1), bad]))
    await eventually(lambda: world.states().get("m@2.0.0") is State.FAILED)
    assert "loading m@1.0.0 on onnx" == world.engine.not_ready()
    world.runtime.gate.set()
    await eventually(lambda: not world.engine.not_ready())
    world.runtime.gate.clear()
    world.engine.use(_catalog([world.version(1), bad, world.version(3, "3.0.0")]))
    await eventually(lambda: world.runtime.loading == 1)
    assert "" == world.engine.not_ready()


async def test_an_empty_snapshot_is_ready(world: World) -> None:
    """There is nothing to wait for, and unknown names are told as such."""
    world.engine.use({"m": ()})
    assert "" == world.engine.not_ready()
    with pytest.raises(UnknownModel):
        world.engine.find("other", "")
    with pytest.raises(UnknownVersion):
        world.engine.find("m", "1.0.0")
    with pytest.raises(VersionNotLoaded):
        world.engine.find("m", "")


async def test_versions_that_have_not_changed_are_left_alone(world: World) -> None:
    """A new snapshot loads nothing twice."""
    versions = [world.version(1), world.version(2, "2.0.0")]
    world.engine.use(_catalog(versions))
    await world.reach(v1_0_0=State.READY, v2_0_0=State.READY)
    world.engine.use(_catalog(versions))
    assert {"m@1.0.0": State.READY, "m@2.0.0": State.READY} == world.states()
    assert 2 == len(world.runtime.loaded)


async def test_closing_ends_every_version(world: World) -> None:
    """Nothing stays loaded and nothing goes on loading."""
    world.engine.use(_catalog([world.version(1)]))
    await world.reach(v1_0_0=State.READY)
    await world.engine.close()
    assert [True] == [model.closed for model in world.runtime.loaded]
    assert () == world.engine.board.current


async def test_every_runtime_of_a_version_is_loaded_and_the_first_choice_answers(world: World) -> None:
    """The fallback is warm from the start."""
    world.engine.use(_catalog([world.on_both(1)]))
    await eventually(lambda: world.by_runtime() == {"triton": State.READY, "onnx": State.READY})
    assert Source("triton") == await world.source()
    assert [1, 1] == [len(world.triton.loaded), len(world.runtime.loaded)]


async def test_the_next_runtime_answers_until_the_first_is_loaded(world: World) -> None:
    """A runtime that is away is asked again soon, whatever the backoff of other failures."""
    engine = Engine(world.engine._loader, wait_fixed(3600))
    world.triton.failures = [UpstreamUnavailable("away")]
    engine.use(_catalog([world.on_both(1)]))
    await eventually(lambda: {State.READY, State.FAILED} == {status.state for status in engine.board.current})
    assert "" == engine.not_ready()
    with engine.find("m", "") as serving:
        assert [Source("onnx", "RUNTIME_NOT_READY", "triton")] == list((await serving.infer(call(0))).sources)
        await eventually(lambda: {State.READY} == {status.state for status in engine.board.current})
        assert [Source("triton")] == list((await serving.infer(call(0))).sources)
    await engine.close()


async def test_a_runtime_that_fails_is_shown_as_failed_until_it_is_well(world: World) -> None:
    """The registry knows by that on what a version runs."""
    world.engine.use(_catalog([world.on_both(1)]))
    await eventually(lambda: world.by_runtime() == {"triton": State.READY, "onnx": State.READY})
    [model] = world.triton.loaded
    model.failure = UpstreamUnavailable("away")
    assert Source("onnx", "RUNTIME_FAILED", "triton") == await world.source()
    assert {"triton": State.FAILED, "onnx": State.READY} == world.by_runtime()
    model.failure = None
    await eventually(lambda: world.by_runtime() == {"triton": State.READY, "onnx": State.READY})
    assert Source("triton") == await world.source()
    assert all(status.load_time_us > 0 for status in world.engine.board.current)


async def test_new_content_takes_over_on_each_runtime_by_itself(world: World) -> None:
    """The old content is closed on both when its calls have ended, and no call meets a closed model."""
    world.engine.use(_catalog([world.on_both(1)]))
    await eventually(lambda: world.by_runtime() == {"triton": State.READY, "onnx": State.READY})
    world.triton.gate.clear()
    world.engine.use(_catalog([world.on_both(2)]))
    await eventually(lambda: 2 == len(world.runtime.loaded))
    await eventually(lambda: world.runtime.loaded[0].closed)
    assert Source("onnx", "RUNTIME_NOT_READY", "triton") == await world.source()
    assert 2 == await world.answer()
    world.triton.gate.set()
    await eventually(lambda: world.by_runtime() == {"triton": State.READY, "onnx": State.READY})
    assert Source("triton") == await world.source()
    await eventually(lambda: world.triton.loaded[0].closed)
    assert [False, False] == [world.triton.loaded[1].closed, world.runtime.loaded[1].closed]


async def test_a_runtime_that_stays_away_is_told_once(world: World) -> None:
    """It is asked every second or so, and nobody wants to read of each time."""
    world.triton.failures = [UpstreamUnavailable("away")] * 3
    seen: list[tuple[State, str]] = []

    async def watch() -> None:
        async for statuses in world.engine.board.changes():
            seen.extend((status.state, status.message) for status in statuses if status.runtime == "triton")

    watching = asyncio.create_task(watch())
    world.engine.use(_catalog([world.on_both(1)]))
    await eventually(lambda: any(state is State.READY for state, _ in seen))
    watching.cancel()
    assert 1 == len({each for each in seen if each[0] is State.FAILED})
    assert [State.LOADING, State.FAILED, State.READY] == list(dict.fromkeys(state for state, _ in seen))


async def test_readiness_does_not_wait_for_a_slow_first_choice_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that answers is served; one that answers nowhere yet keeps the process unready."""
    monkeypatch.setattr("services.model.engine._ALL_PATIENCE_S", 0.2)
    world.triton.gate.clear()
    world.runtime.gate.clear()
    world.engine.use(_catalog([world.on_both(1)]))
    await eventually(lambda: world.triton.loading == 1 == world.runtime.loading)
    late = time.monotonic() + 0.3
    await eventually(lambda: time.monotonic() > late)
    assert "m@1.0.0 on triton" in world.engine.not_ready()
    world.runtime.gate.set()
    await eventually(lambda: world.by_runtime().get("onnx") is State.READY)
    assert "loading m@1.0.0 on triton" == world.engine.not_ready()
    await eventually(lambda: world.engine.not_ready() == "")


async def test_a_version_is_ready_with_its_golden_set_judged(world: World) -> None:
    """No status says READY before it says what the golden set came to."""
    seen: set[tuple[State, GoldenState]] = set()

    class Watched(StatusBoard):
        def show(self, statuses: Sequence[RuntimeStatus]) -> None:
            seen.update((each.state, each.golden) for each in statuses)
            super().show(statuses)

    world.engine.board = Watched()
    world.engine.use(_catalog([world.with_golden(5, recorded=5)]))
    await world.reach(v1_0_0=State.READY)
    assert {(State.LOADING, GoldenState.NOT_RUN), (State.READY, GoldenState.PASSED)} == seen


async def test_a_version_that_fails_its_golden_set_answers_nevertheless(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it may answer callers is the registry's to say; here it is logged and reported."""
    world.engine.use(_catalog([world.with_golden(5, recorded=6)]))
    await world.reach(v1_0_0=State.READY)
    assert 5 == await world.answer()
    [status] = world.engine.board.current
    assert (GoldenState.FAILED, "") == (status.golden, status.message)
    assert "output 'y', row 0: recorded 6.0, computed 5.0" == status.golden_message
    assert ["golden set failed"] == [record.message for record in caplog.records if record.levelname == "WARNING"]


async def test_each_runtime_has_a_verdict_of_its_own(world: World) -> None:
    """One may compute otherwise."""
    version = world.with_golden(5, recorded=5)
    [artifact] = version.artifacts
    other = world.version(7).artifacts[0].sha256
    triton = Artifact("triton", other)
    world.engine.use(_catalog([replace(version, artifacts=(triton, artifact))]))
    await eventually(lambda: world.by_runtime() == {"triton": State.READY, "onnx": State.READY})
    assert {"triton": GoldenState.FAILED, "onnx": GoldenState.PASSED} == {
        status.runtime: status.golden for status in world.engine.board.current
    }


async def test_a_golden_set_that_was_away_is_run_once_it_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another load."""
    monkeypatch.setattr(station, "_LOOK_S", 0.01)
    version = world.with_golden(5, recorded=5)
    assert version.golden
    content = world.stored.pop(version.golden.sha256)
    world.engine.use(_catalog([version]))
    await world.reach(v1_0_0=State.READY)
    assert [GoldenState.FAILED] == world.golden()
    world.stored[version.golden.sha256] = content
    await eventually(lambda: world.golden() == [GoldenState.PASSED])
    assert 1 == len(world.runtime.loaded)
    assert "" == world.engine.board.current[0].golden_message


async def test_a_runtime_that_has_come_back_is_judged_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another release that computes otherwise."""
    monkeypatch.setattr(station, "_LOOK_S", 0.01)
    world.engine.use(_catalog([world.with_golden(5, recorded=5)]))
    await world.reach(v1_0_0=State.READY)
    [model] = world.runtime.loaded
    model.failure = UpstreamUnavailable("killed")
    with pytest.raises(VersionNotLoaded):
        await world.answer()
    model.failure, model._offset = None, 6
    await eventually(lambda: world.golden() == [GoldenState.FAILED])
    await world.reach(v1_0_0=State.READY)
    assert 6 == await world.answer()


async def test_the_golden_set_stays_on_the_disk_with_its_version(world: World) -> None:
    """And leaves with it."""
    version = world.with_golden(5, recorded=5)
    assert version.golden
    world.engine.use(_catalog([version, world.version(2, "2.0.0")]))
    await world.reach(v1_0_0=State.READY, v2_0_0=State.READY)
    world.engine.use(_catalog([version]))
    await eventually(lambda: {path.name for path in world.directory.iterdir()} == version.uploads)
    world.engine.use({})
    await eventually(lambda: not list(world.directory.iterdir()))
