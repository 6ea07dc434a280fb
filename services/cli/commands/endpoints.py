"""`predictmesh endpoints`: what can be asked, and how."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

import click

from predictmesh.gateway.v1.prediction_service_pb2 import EndpointInfo, ListEndpointsRequest, PredictRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.registry.v1.feature_view_pb2 import KeyType
from predictmesh.registry.v1.model_pb2 import TensorSpec
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli import durations
from services.cli.client import connect
from services.cli.errors import Mistake
from services.cli.labels import words
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json, print_pairs, print_table
from services.cli.values import type_name, values_of


@click.command()
@click.argument("name", required=False)
@timeout_option()
@json_option
@connects("gateway")
def command(name: str | None, timeout_s: float, as_json: bool, services: Services) -> None:
    """List the endpoints and how to call them.

    With NAME, show that one with a command that can be pasted.
    """
    with connect(services.grpc("gateway"), PredictionServiceStub) as gateway:
        response = gateway.ListEndpoints(ListEndpointsRequest(), timeout=timeout_s)
    endpoints = [info for info in response.endpoints if name in {None, info.name}]
    if name and not endpoints:
        raise Mistake(f"no endpoint {name!r} [UNKNOWN_ENDPOINT] (`predictmesh endpoints` lists them)")
    if as_json:
        print_json([plain(info) for info in endpoints])
    elif name:
        _print_one(endpoints[0])
    else:
        _print_list(endpoints)


def _print_list(endpoints: Sequence[EndpointInfo]) -> None:
    print_table(
        ["endpoint", "model", "version", "entity keys", "description"],
        [
            (info.name, info.model, info.version, ", ".join(key.name for key in info.entity_keys), info.description)
            for info in endpoints
        ],
        empty="no endpoints; `predictmesh apply` creates them",
    )


def _print_one(info: EndpointInfo) -> None:
    keys = ", ".join(f"{key.name} {words(KeyType.Name, 'KEY_TYPE_', key.type)}" for key in info.entity_keys)
    print_pairs(
        {
            "endpoint": info.name,
            "description": info.description,
            "model": f"{info.model} {info.version}",
            "entity keys": keys,
            "features": ", ".join(map(_spec, info.request_features)),
            "outputs": ", ".join(map(_spec, info.outputs)),
            "timeout": durations.exact(info.default_timeout_ms),
            "try": sample_command(info.name, info.sample),
        }
    )


def _spec(spec: TensorSpec) -> str:
    shape = f"[{', '.join(map(str, spec.shape))}]" if spec.shape else ""
    return f"{spec.name} {type_name(spec.data_type)}{shape}"


def sample_command(name: str, sample: PredictRequest) -> str:
    """Return the command that sends `sample`, quoted for a shell."""
    words = ["predictmesh", "predict", name]
    for option, tensors in (("--entity", sample.entities), ("--feature", sample.features)):
        for tensor in tensors:
            words += [option, f"{tensor.name}={_value_text(tensor)}"]
    if sample.HasField("as_of"):
        words += ["--as-of", sample.as_of.ToJsonString()]
    return shlex.join(words)


def _value_text(tensor: Tensor) -> str:
    values = values_of(tensor)
    if len(tensor.shape) > 1:
        return json.dumps(values)
    return "".join(map(_scalar_text, values[:1]))


def _scalar_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
