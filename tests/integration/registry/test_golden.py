"""Golden sets of versions: what is registered is such that every runtime can be asked for it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from predictmesh.model.v1.runtime_pb2 import GOLDEN_STATE_FAILED
from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import GoldenRows
from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions import DataType, GoldenSet, Signature, Version
from tests.support.definitions import SHA256, asked, spec, version
from tests.support.golden import golden_set, tensor
from tests.support.registry import Client

X = np.ones((2, 4), np.float32)
Y = np.array([0.5, math.nan], np.float32)
GOOD = golden_set({"x": X}, {"y": Y})


def with_golden(content: bytes = GOOD, number: str = "2.0.0", **parts: Any) -> Version:
    """A version with a golden set of these bytes."""
    golden = GoldenSet(hashlib.sha256(content).hexdigest(), **parts)
    return version(number, golden=golden)


async def test_a_golden_set_is_part_of_the_version_and_not_of_its_digest(full: Client) -> None:
    """The registry adds its length; what the version computes is the same with it and without."""
    await full.upload(GOOD)
    given = with_golden(absolute_tolerance=1e-6, relative_tolerance=0.01)
    registered = (await full.register(given)).version
    assert len(GOOD) == registered.golden.size_bytes
    assert (1e-6, 0.01) == (registered.golden.absolute_tolerance, registered.golden.relative_tolerance)
    served = (await full.snapshot()).models[0]
    assert registered == served.versions[1]
    assert served.versions[0].digest == served.versions[1].digest


async def test_a_version_has_one_golden_set_for_ever(full: Client) -> None:
    """Another one, another tolerance, or none under the same number is refused; the same is answered as before."""
    await full.upload(GOOD)
    await full.register(with_golden())
    for other in (with_golden(absolute_tolerance=1.0), version("2.0.0")):
        with pytest.raises(MeshError, match="exists with other golden") as caught:
            await full.register(other)
        assert (Reason.ALREADY_EXISTS, "version.golden") == (caught.value.reason, caught.value.violations[0].field)
    assert (await full.register(with_golden())).existed


def rows(*, inputs: Any = None, outputs: Any = None) -> bytes:
    """The good golden set with other tensors."""
    return GoldenRows(
        inputs=[tensor("x", X)] if inputs is None else inputs, outputs=[tensor("y", Y)] if outputs is None else outputs
    ).SerializeToString()


def many(count: int) -> bytes:
    """So many rows."""
    return golden_set({"x": np.ones((count, 4), np.float32)}, {"y": np.ones(count, np.float32)})


BAD_ROWS: dict[str, tuple[bytes, str]] = {
    "no message": (b"\xff\xff\xff", "sha256"),
    "no rows": (many(0), "inputs"),
    "257 rows": (many(257), "inputs"),
    "more than a megabyte": (many(256) + golden_set({"x" * 2**20: X}, {}), "sha256"),
    "no tensors": (b"\x1a\x00", "inputs"),
    "an input missing": (rows(inputs=[]), "inputs"),
    "an output missing": (rows(outputs=[]), "outputs"),
    "an input twice": (rows(inputs=[tensor("x", X), tensor("x", X)]), "inputs[1].name"),
    "an unknown input": (rows(inputs=[tensor("x", X), tensor("z", X)]), "inputs[1].name"),
    "an output among the inputs": (rows(inputs=[tensor("x", X), tensor("y", Y)]), "inputs[1].name"),
    "another type": (rows(outputs=[tensor("y", Y.astype(np.float64))]), "outputs[0].data_type"),
    "no type": (rows(outputs=[tensor("y", Y, data_type=0)]), "outputs[0].data_type"),
    "another shape": (rows(inputs=[tensor("x", np.ones((2, 3), np.float32))]), "inputs[0].shape"),
    "another number of rows": (rows(outputs=[tensor("y", Y[:1])]), "outputs[0].shape"),
    "a negative shape": (rows(outputs=[tensor("y", Y, shape=[-2])]), "outputs[0].shape"),
    "no shape": (rows(outputs=[tensor("y", Y, shape=[])]), "outputs[0].shape"),
    "nulls": (rows(outputs=[tensor("y", Y, null_rows=[0])]), "outputs[0].null_rows"),
    "too few values": (rows(outputs=[tensor("y", Y, floats=[1.0])]), "outputs[0]"),
    "values in another list": (rows(outputs=[tensor("y", Y, floats=[], doubles=[1.0, 2.0])]), "outputs[0]"),
}


@pytest.mark.parametrize("empty", ["inprocess"], indirect=True)
@pytest.mark.parametrize(("content", "path"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
async def test_rows_that_do_not_fit_the_signature_are_refused(full: Client, content: bytes, path: str) -> None:
    """The caller gets the place in the golden set; nothing is registered."""
    await full.upload(content)
    before = await full.snapshot()
    with pytest.raises(MeshError) as caught:
        await full.register(with_golden(content))
    assert (Code.INVALID_ARGUMENT, Reason.INVALID_DEFINITION) == (caught.value.code, caught.value.reason)
    assert [f"version.golden.{path}"] == [each.field for each in caught.value.violations]
    assert before == await full.snapshot()


BAD_SETS: dict[str, tuple[GoldenSet, Reason, str]] = {
    "not uploaded": (GoldenSet("0" * 64), Reason.UNKNOWN_ARTIFACT, "golden.sha256"),
    "no digest": (GoldenSet(""), Reason.INVALID_DEFINITION, "golden.sha256"),
    "a path": (GoldenSet("../" * 20), Reason.INVALID_DEFINITION, "golden.sha256"),
    "a negative tolerance": (
        GoldenSet(hashlib.sha256(GOOD).hexdigest(), absolute_tolerance=-1e-9),
        Reason.INVALID_DEFINITION,
        "golden.absolute_tolerance",
    ),
    "a tolerance that is no number": (
        GoldenSet(hashlib.sha256(GOOD).hexdigest(), relative_tolerance=math.nan),
        Reason.INVALID_DEFINITION,
        "golden.relative_tolerance",
    ),
    "an endless tolerance": (
        GoldenSet(hashlib.sha256(GOOD).hexdigest(), absolute_tolerance=math.inf),
        Reason.INVALID_DEFINITION,
        "golden.absolute_tolerance",
    ),
    "the model's own bytes": (GoldenSet(SHA256), Reason.INVALID_DEFINITION, "golden.sha256"),
}


@pytest.mark.parametrize("empty", ["inprocess"], indirect=True)
@pytest.mark.parametrize(("golden", "reason", "path"), BAD_SETS.values(), ids=BAD_SETS.keys())
async def test_a_bad_golden_set_is_refused(full: Client, golden: GoldenSet, reason: Reason, path: str) -> None:
    """As every other part of a version."""
    await full.upload(GOOD)
    with pytest.raises(MeshError) as caught:
        await full.register(version("2.0.0", golden=golden))
    assert (reason, [f"version.{path}"]) == (caught.value.reason, [each.field for each in caught.value.violations])


@pytest.mark.parametrize("empty", ["inprocess"], indirect=True)
async def test_what_the_signature_refuses_is_not_recorded(full: Client) -> None:
    """NaN in an output that must be finite would never be answered; integers keep to their range."""
    signature = Signature((spec("x", DataType.INT8),), (spec("y", finite=True),))
    content = golden_set(
        {"x": np.array([1, 2], np.int8)},
        {"y": Y},
    )
    wide = GoldenRows(inputs=[tensor("x", np.array([1, 2], np.int8), ints=[1, 300])], outputs=[tensor("y", Y)])
    for given, fields in (
        (content, ["version.golden.outputs[0].floats[1]"]),
        (wide.SerializeToString(), ["version.golden.inputs[0].ints[1]", "version.golden.outputs[0].floats[1]"]),
    ):
        await full.upload(given)
        binding = replace(version().bindings[0], sources=(asked("x"),))
        with pytest.raises(MeshError) as caught:
            await full.register(replace(with_golden(given), signature=signature, bindings=(binding,)))
        assert fields == [each.field for each in caught.value.violations]


async def test_every_fault_is_told_at_once(full: Client) -> None:
    """Those of the golden set beside those of the rest."""
    content = rows(outputs=[])
    await full.upload(content)
    with pytest.raises(MeshError) as caught:
        await full.register(replace(with_golden(content), metrics={"auc": math.nan}))
    fields = [each.field for each in caught.value.violations]
    assert ["version.metrics.auc", "version.golden.outputs"] == fields


async def test_what_processes_say_of_golden_sets_is_listed(full: Client) -> None:
    """As they said it."""
    one = (await full.snapshot()).models[0].versions[0]
    await full.report(one, golden=GOLDEN_STATE_FAILED, golden_message="output y is off")
    [instance] = (await full.stub.ListRuntimes(pb.ListRuntimesRequest())).instances
    assert (GOLDEN_STATE_FAILED, "output y is off") == (
        instance.runtimes[0].golden,
        instance.runtimes[0].golden_message,
    )
