from __future__ import annotations

from dataclasses import replace

from predictmesh.model.v1 import runtime_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.model.convert import decode_catalog, encode_statuses
from services.model.statuses import GoldenState, RuntimeStatus, State
from services.model.versions import GoldenSet
from tests.support.onnx_models import several
from tests.support.snapshots import snapshot


def test_versions_come_out_of_a_snapshot_as_they_were_defined() -> None:
    """Names, signature, digest and artifacts, by model."""
    versions = [several().version("team/a", "1.0.0"), several().version("team/a", "1.1.0"), several().version("b")]
    catalog = decode_catalog(snapshot(1, versions))
    assert {"team/a": tuple(versions[:2]), "b": (versions[2],)} == catalog


def test_a_model_without_versions_is_known() -> None:
    """Its name is not unknown, only its versions are."""
    sent = Snapshot()
    sent.models.add(name="m")
    assert {"m": ()} == decode_catalog(sent)


def test_a_data_type_of_a_later_release_does_not_spoil_the_snapshot() -> None:
    """Its version will fail to load; the others must not."""
    sent = snapshot(1, [several().version("m")])
    sent.models[0].versions[0].signature.inputs[0].data_type = 0  # type: ignore[assignment]  # unspecified
    [version] = decode_catalog(sent)["m"]
    assert "UNSPECIFIED" == version.signature.inputs[0].datatype


def test_every_state_has_its_word_on_the_wire() -> None:
    """None is lost, and none is sent as unspecified."""
    statuses = [RuntimeStatus("m", "1.0.0", "d", "onnx", state, 1.5, "why", 7) for state in State]
    encoded = encode_statuses(statuses)
    assert [f"RUNTIME_STATE_{state.name}" for state in State] == [
        runtime_pb2.RuntimeState.Name(status.state) for status in encoded
    ]
    assert (1, 500_000_000, "why", 7) == (
        encoded[0].state_time.seconds, encoded[0].state_time.nanos, encoded[0].message, encoded[0].load_time_us,
    )  # fmt: skip


def test_a_golden_set_comes_out_of_a_snapshot() -> None:
    """With its tolerances; its bytes are kept as long as the version's others."""
    version = replace(several().version(), golden=GoldenSet("9" * 64, 1e-6, 0.01))
    assert {"m": (version,)} == decode_catalog(snapshot(1, [version]))
    assert {"9" * 64, several().sha256} == version.uploads


def test_every_word_on_a_golden_set_is_on_the_wire() -> None:
    """One that has not been run is left out."""
    statuses = [
        RuntimeStatus("m", "1.0.0", "d", "onnx", State.READY, 1.5, golden=state, golden_message="why")
        for state in (GoldenState.NOT_RUN, GoldenState.PASSED, GoldenState.FAILED)
    ]
    encoded = encode_statuses(statuses)
    assert [
        runtime_pb2.GOLDEN_STATE_UNSPECIFIED,
        runtime_pb2.GOLDEN_STATE_PASSED,
        runtime_pb2.GOLDEN_STATE_FAILED,
    ] == [status.golden for status in encoded]
    assert "why" == encoded[2].golden_message


def test_versions_are_ordered_by_number() -> None:
    """1.10 is newer than 1.9; text that is no number sorts first instead of failing."""
    versions = [several().version(version=text) for text in ("1.10.0", "1.9.0", "1.9.0-rc1")]
    assert ["1.9.0-rc1", "1.9.0", "1.10.0"] == [v.version for v in sorted(versions, key=lambda v: v.precedence)]


def test_composed_versions_are_left_to_gateways() -> None:
    """There is nothing to be loaded for them."""
    sent = snapshot(1, [several().version("m", "1.0.0"), several().version("m", "2.0.0")])
    sent.models[0].versions[1].graph.nodes.add(name="first")
    assert ["1.0.0"] == [version.version for version in decode_catalog(sent)["m"]]
