"""Registering a composed version: without artifacts, and with faults told where they stand in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from predictmesh.model.v1.runtime_pb2 import RuntimeState, RuntimeStatus
from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import Model, Version
from services.cli.errors import Failure, Mistake
from services.cli.registration import Registered, Registration, in_file, print_registered, register
from services.cli.resources.files import read_version_file
from services.cli.standings import messages_of, nodes_of, states_of

VERSION = """\
kind: Version
model: delay
version: 3.0.0
graph:
  nodes:
    mlp: {model: delay@1.0.0}
    trees: {model: delay@2.0.0, optional: true, defaults: {probability: [0.2]}}
    post: {model: tools/calibrate@1.0.0, inputs: {p: mlp.probability, both: [mlp.probability, trees.probability]}}
    mix: {ensemble: weighted_mean, of: {mlp.probability: 0.3, trees.probability: 0.7}}
    peak: {ensemble: max, of: [mlp, trees]}
    sure: {cascade: [{node: mlp, threshold: 0.8}, {node: trees}]}
  outputs: {probability: sure.probability}
metrics: {auc: 0.7}
"""
READY, FAILED = RuntimeState.RUNTIME_STATE_READY, RuntimeState.RUNTIME_STATE_FAILED
LOADED = [
    RuntimeStatus(model="delay", version="1.0.0", runtime="onnx", state=READY, load_time_us=7_000),
    RuntimeStatus(model="delay", version="2.0.0", runtime="onnx", state=READY, load_time_us=9_000),
    RuntimeStatus(model="tools/calibrate", version="1.0.0", runtime="triton", state=READY, load_time_us=1_000),
]


class Registry:
    """Takes every version, and says that model processes have loaded these."""

    def __init__(self, *loaded: RuntimeStatus) -> None:
        self.loaded = loaded
        self.registered: list[pb.RegisterVersionRequest] = []

    def RegisterVersion(self, request: pb.RegisterVersionRequest, timeout: float) -> pb.RegisterVersionResponse:
        assert timeout > 0
        self.registered.append(request)
        return pb.RegisterVersionResponse(version=request.version)

    def GetVersion(self, request: pb.GetVersionRequest, timeout: float) -> pb.GetVersionResponse:
        assert timeout > 0
        return pb.GetVersionResponse(version=Version(version=request.name.version))

    def ListRuntimes(self, request: pb.ListRuntimesRequest, timeout: float) -> pb.ListRuntimesResponse:
        assert timeout > 0
        return pb.ListRuntimesResponse(instances=[pb.InstanceReport(runtimes=self.loaded)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the version."""
    written = tmp_path / "version.yaml"
    written.write_text(VERSION)
    return written


def registered(file: Path, registry: Registry | None = None, wait_s: float | None = None, **options: Any) -> Registered:
    """Register the version."""
    standard: dict[str, Any] = {"report": None, "artifacts": (), "dry_run": False, "reason": "", "timeout_s": 5}
    fake: Any = registry or Registry()
    return register(fake, Registration(file, **standard | options), wait_s)


def test_without_artifacts(file: Path) -> None:
    """Its graph is all that is sent, and its metrics."""
    registry = Registry()
    registered(file, registry)
    (request,) = registry.registered
    assert ("delay", read_version_file(file)[1]) == (request.model, request.version)


@pytest.mark.parametrize(
    "options",
    [{"artifacts": [("onnx", Path("m.onnx"))]}, {"target": "models.example:8001"}, {"golden": Path("golden.yaml")}],
)
def test_what_only_versions_of_their_own_have(file: Path, options: dict[str, Any]) -> None:
    """The mistake names the options."""
    with pytest.raises(Mistake, match=r"has a graph, .*leave out --artifact, --runtime and --golden"):
        registered(file, **options)


def test_metrics_from_a_report(file: Path, tmp_path: Path) -> None:
    """How good it was found to be; what went into training belongs to the versions in the graph."""
    report = tmp_path / "report.yaml"
    report.write_text("metrics: {log_loss: 0.5}")
    registry = Registry()
    registered(file, registry, report=report)
    assert {"auc": 0.7, "log_loss": 0.5} == dict(registry.registered[0].version.metrics)
    report.write_text("training_profile: {rows: 1, features: []}")
    with pytest.raises(Mistake, match="training_profile: is that of the versions in the graph"):
        registered(file, report=report)


def test_waiting_is_for_every_node(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A composed version is served when the versions are that it is made of."""
    done = registered(file, Registry(*LOADED), wait_s=5)
    print_registered(done, dry_run=False)
    assert [
        "delay 1.0.0 ready on onnx after 7 ms",
        "delay 2.0.0 ready on onnx after 9 ms",
        "tools/calibrate 1.0.0 ready on triton after 1 ms",
    ] == capsys.readouterr().out.splitlines()[1:]


def test_waiting_for_a_node_in_vain(file: Path) -> None:
    """The failure names the version that is not served."""
    with pytest.raises(Failure, match=r"delay 2\.0\.0 is registered, but no model process serves it after 0\.01 s"):
        registered(file, Registry(LOADED[0]), wait_s=0.01)
    broken = RuntimeStatus(model="delay", version="2.0.0", runtime="onnx", state=FAILED, message="no file")
    with pytest.raises(Mistake, match=r"delay 2\.0\.0 is registered, but could not be loaded: onnx: no file"):
        registered(file, Registry(LOADED[0], broken), wait_s=5)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", "graph"),
        (".nodes", "graph.nodes"),
        (".nodes[9].name", "graph.nodes[9].name"),
        (".nodes[0].name", "graph.nodes.mlp"),
        (".nodes[0].model.version", "graph.nodes.mlp.model"),
        (".nodes[0].model", "graph.nodes.mlp.model"),
        (".nodes[1].model.defaults[0].floats[0]", "graph.nodes.trees.defaults.probability"),
        (".nodes[1].model.defaults", "graph.nodes.trees.defaults"),
        (".nodes[2].model.inputs[0].sources[0]", "graph.nodes.post.inputs.p"),
        (".nodes[2].model.inputs[1].sources[1]", "graph.nodes.post.inputs.both[1]"),
        (".nodes[2].model.inputs[1].input", "graph.nodes.post.inputs.both"),
        (".nodes[3].ensemble.members[1].weight", "graph.nodes.mix.of.trees.probability"),
        (".nodes[3].ensemble.members", "graph.nodes.mix.of"),
        (".nodes[3].ensemble.method", "graph.nodes.mix.ensemble"),
        (".nodes[4].ensemble.members[1].source", "graph.nodes.peak.of[1]"),
        (".nodes[5].cascade", "graph.nodes.sure.cascade"),
        (".nodes[5].cascade.stages", "graph.nodes.sure.cascade"),
        (".nodes[5].cascade.stages[0].threshold", "graph.nodes.sure.cascade[0].threshold"),
        (".outputs[0].source", "graph.outputs.probability"),
        (".outputs", "graph.outputs"),
    ],
)
def test_faults_are_told_where_they_stand(file: Path, path: str, place: str) -> None:
    """By the names that nodes and outputs have in the file."""
    assert f"{file}, {place}: mlp.probability -> post.p: it is FP32" == in_file(
        f"version.graph{path}: mlp.probability -> post.p: it is FP32", file
    )


def test_several_faults_and_others(file: Path) -> None:
    """Each is replaced, and what is no path stays."""
    assert f"{file}, graph.nodes.mlp.model: a; {file}, version: b. 3.0.0 c; {file}, metrics.auc: d" == in_file(
        "version.graph.nodes[0].model.model: a; version.version: b. 3.0.0 c; version.metrics.auc: d", file
    )


def test_it_stands_as_its_nodes_do(file: Path) -> None:
    """Their states and what is wrong with them are told with their names."""
    version = read_version_file(file)[1]
    model = Model(name="delay", versions=[version])
    broken = RuntimeStatus(
        model="tools/calibrate", version="1.0.0", runtime="triton", state=FAILED, message="no such model"
    )
    reports = [pb.InstanceReport(runtimes=[LOADED[0], broken]), pb.InstanceReport(runtimes=[LOADED[0]])]
    assert ["mlp onnx ready on 2", "post triton failed on 1", "trees not loaded"] == states_of(model, version, reports)
    assert [("post triton", "no such model")] == messages_of(model, version, reports)
    assert ["delay@1.0.0", "delay@2.0.0", "tools/calibrate@1.0.0"] == nodes_of(version)
