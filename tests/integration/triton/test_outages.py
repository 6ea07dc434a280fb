"""Triton goes away, comes back without its models, or answers nothing any more."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import tritonclient.grpc.aio as client

from services.mesh.errors import DeadlineExceeded, UpstreamUnavailable
from services.model.runtimes import LoadedModel
from services.model.runtimes.oip import OipRuntime
from services.model.runtimes.triton import open_triton
from services.model.runtimes.triton_config import Instances
from services.model.runtimes.triton_repository import triton_name
from services.model.versions import Artifact, Placement
from tests.support.onnx_models import OnnxModel, deep, linear
from tests.support.runtimes import Loading
from tests.support.triton import TritonServer
from tests.support.triton_backends import holding
from tests.support.waiting import eventually, eventually_answers

ONES = {"x": np.ones((1, 16), np.float32)}
TWOS = {"x": np.full((1, 16), 2, np.float32)}


async def _answer(model: LoadedModel, timeout_s: float = 10) -> float:
    return float((await model.infer(ONES, timeout_s))["y"][0, 0])


async def _revived(model: LoadedModel) -> None:
    """Do what is done while batches fail."""

    async def done() -> bool:
        try:
            await model.revive()
        except UpstreamUnavailable:
            return False
        return True

    await eventually_answers(done)


def _stub_of(server: TritonServer, model: OnnxModel) -> psutil.Process:
    """Return a Python process that runs the model."""
    name = triton_name(model.version())
    return next(stub for stub in server.stubs() if any(name in part for part in stub.cmdline()))


async def test_a_restart_loses_nothing_for_long(own_server: TritonServer, own_load: Loading) -> None:
    """Every model is brought back by itself, and its directory too if it has gone."""
    first, second = await own_load(linear(1)), await own_load(linear(2))
    own_server.kill()
    with pytest.raises(UpstreamUnavailable):
        await _answer(first)
    with pytest.raises(UpstreamUnavailable):
        await first.revive()
    with pytest.raises(UpstreamUnavailable):
        await own_load(linear(3))
    lost = own_server.repository / triton_name(linear(2).version())
    (lost / "config.pbtxt").unlink()
    await own_server.restart()
    await _revived(first)
    with pytest.raises(UpstreamUnavailable):
        await _answer(second)
    await second.revive()
    assert (16, 32) == (await _answer(first), await _answer(second))
    for model in (first, second):
        await model.close()
    assert [] == list(own_server.repository.iterdir())


async def test_content_that_a_restart_has_lost_is_loaded_for_the_next_who_wants_it(
    own_server: TritonServer, own_load: Loading
) -> None:
    """Another version with the same content need not wait until somebody asks the first one."""
    models = [await own_load(linear())]
    own_server.kill()
    await own_server.restart()

    async def loaded() -> bool:
        try:
            models.append(await own_load(linear()))
        except UpstreamUnavailable:
            return False
        return True

    await eventually_answers(loaded)
    assert [16, 16] == [await _answer(model) for model in models]
    for model in models:
        await model.close()


@pytest.mark.parametrize("instances", [1, 3])
async def test_a_dead_python_process_is_replaced(own_server: TritonServer, tmp_path: Path, instances: int) -> None:
    """Triton says that the model is ready meanwhile; other models answer all the time."""
    settings = Instances(instances, "auto", 256)
    async with open_triton(own_server.grpc, own_server.repository, settings, load_timeout_s=30) as runtime:
        load = Loading(runtime, tmp_path)
        other, dying = await load(linear(1)), await load(linear(2))
        stub = _stub_of(own_server, linear(2))
        stub.kill()
        await eventually(lambda: stub.status() == psutil.STATUS_ZOMBIE)

        answers: list[float] = []

        async def ask_other() -> None:
            while True:
                answers.append(await _answer(other))

        asking = asyncio.create_task(ask_other())
        if instances == 1:
            with pytest.raises(UpstreamUnavailable):
                await _answer(dying)
        await dying.revive()
        assert [32.0] * 20 == await asyncio.gather(*(_answer(dying) for _ in range(20)))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert {16.0} == set(answers)
        for model in (other, dying):
            await model.close()


async def test_a_revival_of_what_lives_changes_nothing(own_server: TritonServer, own_load: Loading) -> None:
    """It may be called for no reason."""
    model = await own_load(linear())
    stub = _stub_of(own_server, linear())
    await model.revive()
    assert stub == _stub_of(own_server, linear())
    await model.close()


async def test_a_server_that_stands_still_costs_the_time_given_and_no_more(
    own_server: TritonServer, own_load: Loading
) -> None:
    """It answers again when it goes on."""
    model = await own_load(linear())
    with own_server.stop_cont():
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await _answer(model, timeout_s=0.3)
        assert time.monotonic() - started < 2
    assert 16 == await _answer(model)
    await model.close()


async def test_a_version_is_closed_while_triton_is_away(own_server: TritonServer, own_load: Loading) -> None:
    """Its directory goes, so that nothing is left when Triton is back."""
    model = await own_load(linear())
    own_server.kill()
    async with asyncio.timeout(10):
        await model.close()
    assert [] == list(own_server.repository.iterdir())


@pytest.mark.parametrize(
    ("usual_s", "rows"), [(0.0, TWOS), (3.0, ONES)], ids=["long overdue", "far from being answered"]
)
async def test_a_batch_that_is_given_up_is_given_up_by_triton(
    own_load: Loading, tmp_path: Path, usual_s: float, rows: dict[str, npt.NDArray[np.float32]]
) -> None:
    """A caller who leaves is gone at once; the backend learns of it soon after, and gets no batch ahead meanwhile."""
    file = tmp_path / "file"
    made = holding(file, usual_s)
    model = await own_load.version(made.version(), made.content, "python")
    assert 1 == await _answer(model)
    Path(f"{file}.entered").unlink()
    batch = asyncio.create_task(model.infer(rows, 30))
    await eventually(Path(f"{file}.entered").exists)
    assert 1 == model.ahead
    batch.cancel()
    await asyncio.wait([batch])
    assert 0 == model.ahead
    # Before anything else ends it.
    await eventually(Path(f"{file}.cancelled").exists, within_s=2.5)
    await eventually(lambda: model.ahead == 1)
    await model.close()


async def test_giving_up_batches_as_they_end_does_not_bring_triton_down(
    own_server: TritonServer, own_load: Loading
) -> None:
    """Its gRPC aborts on calls that are cancelled just as they are answered, so that they are not."""
    model = await own_load(deep())
    rows = {"x": np.ones((64, 16), np.float32)}
    took_s = []
    for _ in range(8):
        started = time.perf_counter()
        await model.infer(rows, 30)
        took_s.append(time.perf_counter() - started)
    late = 0
    for turn in range(300):
        try:
            await model.infer(rows, min(took_s) * (0.5 + turn % 30 / 15))
        except DeadlineExceeded:
            late += 1
    assert late > 30
    assert own_server.process is not None
    assert own_server.process.poll() is None
    await model.close()


@pytest.mark.parametrize("path", ["", "/m", "/m/7"])
async def test_a_target_without_the_model_is_unavailable(own_server: TritonServer, path: str) -> None:
    """As it may come yet."""
    placement = Placement(linear().version(), Artifact("oip", "", "", f"{own_server.grpc}{path}"))
    with pytest.raises(UpstreamUnavailable, match="no model 'm'"):
        await OipRuntime().load(placement, None)


async def test_a_target_where_nobody_listens_is_unavailable(own_server: TritonServer) -> None:
    """And the message does not tell the address."""
    address = own_server.grpc
    own_server.kill()
    with pytest.raises(UpstreamUnavailable, match="cannot be reached") as refused:
        await OipRuntime().load(Placement(linear().version(), Artifact("oip", "", "", address)), None)
    assert address not in f"{refused.value.message} {refused.value.__cause__}"


async def test_a_model_that_somebody_else_has_loaded_is_used(own_server: TritonServer, own_load: Loading) -> None:
    """By its name and version there; a revival says when it has gone."""
    await own_load(linear(3))
    name = triton_name(linear(3).version())
    target = Artifact("oip", "", "", f"{own_server.grpc}/{name}/1")
    model = await OipRuntime().load(Placement(linear(3).version(), target), None)
    assert (48, "onnxruntime_onnx") == (await _answer(model), model.platform)
    await model.revive()
    async with client.InferenceServerClient(own_server.grpc) as asked:
        await asked.unload_model(name)
    with pytest.raises(UpstreamUnavailable):
        await model.revive()
    with pytest.raises(UpstreamUnavailable):
        await _answer(model)
    await model.close()
