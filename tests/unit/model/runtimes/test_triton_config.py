"""config.pbtxt, made from the signature."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.model.errors import InvalidArtifact, SignatureMismatch
from services.model.runtimes.triton_config import Instances, Kind, model_config, server_names
from services.model.versions import Artifact, Placement, Signature, TensorSpec, Version
from tests.support.onnx_models import DATATYPES

INSTANCES = Instances(count=2, kind="auto", batch_rows=256)


def _placement(form: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Placement:
    artifact = Artifact("triton", "a" * 64, form)
    signature = Signature(tuple(inputs), tuple(outputs))
    return Placement(Version("m", "1.0.0", "d" * 64, signature, (artifact,)), artifact)


def _config(form: str, spec: TensorSpec, instances: Instances = INSTANCES) -> pb.ModelConfig:
    return text_format.Parse(model_config("name", _placement(form, [spec], [spec]), instances), pb.ModelConfig())


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_type_has_its_name_there(datatype: str) -> None:
    """Byte strings are called strings."""
    config = _config("onnx", TensorSpec("x", datatype, (3,)))
    wanted = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    assert [wanted] * 2 == [pb.DataType.Name(each.data_type) for each in (config.input[0], config.output[0])]


@pytest.mark.parametrize("shape", [(1,), (4,), (2, 3, 5)])
def test_dimensions_are_those_of_a_row(shape: tuple[int, ...]) -> None:
    """Rows are counted by the batch."""
    config = _config("onnx", TensorSpec("x", "FP32", shape))
    assert (list(shape), 256) == (list(config.input[0].dims), config.max_batch_size)
    assert not config.input[0].HasField("reshape")


def test_one_value_a_row_is_sent_as_a_dimension_of_one() -> None:
    """The model gets it without."""
    config = _config("onnx", TensorSpec("x", "FP32", ()))
    for tensor in (config.input[0], config.output[0]):
        assert ([1], []) == (list(tensor.dims), list(tensor.reshape.shape))
        assert tensor.HasField("reshape")


@pytest.mark.parametrize(
    ("form", "backend"),
    [("onnx", "onnxruntime"), ("tensorrt_plan", "tensorrt"), ("pytorch", "pytorch"), ("python", "python")],
)
def test_every_format_has_its_backend(form: str, backend: str) -> None:
    """And Triton neither batches nor queues."""
    config = _config(form, TensorSpec("x", "FP32", (4,)))
    assert ("name", backend) == (config.name, config.backend)
    assert not config.HasField("dynamic_batching")


@pytest.mark.parametrize(("kind", "wanted"), [("auto", "KIND_AUTO"), ("cpu", "KIND_CPU"), ("gpu", "KIND_GPU")])
def test_instances_are_of_the_kind_that_is_set(kind: Kind, wanted: str) -> None:
    """So many of them."""
    (group,) = _config("onnx", TensorSpec("x", "FP32", ()), Instances(3, kind, 8)).instance_group
    assert (3, wanted) == (group.count, pb.ModelInstanceGroup.Kind.Name(group.kind))


def test_tensors_of_torchscript_are_counted() -> None:
    """It has no names for them."""
    a, b = TensorSpec("a", "FP32", (2,)), TensorSpec("b", "INT64", ())
    placement = _placement("pytorch", [a, b], [TensorSpec("y", "FP32", ())])
    config = text_format.Parse(model_config("name", placement, INSTANCES), pb.ModelConfig())
    assert ["INPUT__0", "INPUT__1"] == [each.name for each in config.input]
    assert ["OUTPUT__0"] == [each.name for each in config.output]
    assert {"a": "INPUT__0", "b": "INPUT__1", "y": "OUTPUT__0"} == server_names(placement)


def test_an_unknown_format_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(InvalidArtifact, match="onnx, tensorrt_plan, pytorch, python, ensemble"):
        _config("savedmodel", TensorSpec("x", "FP32", ()))


ENSEMBLE = b"""
name: "theirs" max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_STRING dims: [ 1 ] }
output { name: "more" data_type: TYPE_FP32 dims: [ 1 ] }
ensemble_scheduling { step { model_name: "other" model_version: -1
  input_map { key: "a" value: "x" } output_map { key: "b" value: "y" } } }
"""
X, Y = TensorSpec("x", "FP32", (4,)), TensorSpec("y", "BYTES", ())


def test_an_ensembles_scheduling_is_taken_over() -> None:
    """Under our name and limit."""
    text = model_config("name", _placement("ensemble", [X], [Y]), INSTANCES, ENSEMBLE)
    config = text_format.Parse(text, pb.ModelConfig())
    assert ("name", "ensemble", 256) == (config.name, config.platform, config.max_batch_size)
    assert ["other"] == [step.model_name for step in config.ensemble_scheduling.step]
    assert not config.instance_group


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([TensorSpec("q", "FP32", (4,))], [Y]),
        ([TensorSpec("x", "FP64", (4,))], [Y]),
        ([TensorSpec("x", "FP32", (5,))], [Y]),
        ([X], [Y, TensorSpec("z", "FP32", ())]),
    ],
    ids=["name", "type", "shape", "output"],
)
def test_an_ensemble_with_other_tensors_is_refused(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    """With each difference."""
    with pytest.raises(SignatureMismatch) as refused:
        model_config("name", _placement("ensemble", inputs, outputs), INSTANCES, ENSEMBLE)
    assert refused.value.violations


@pytest.mark.parametrize("artifact", [b"\xff", b"what: is this", b'input { name: "x" }'])
def test_what_is_no_ensemble_is_refused(artifact: bytes) -> None:
    """Before Triton sees it."""
    with pytest.raises(InvalidArtifact, match="ensemble"):
        model_config("name", _placement("ensemble", [X], [Y]), INSTANCES, artifact)
