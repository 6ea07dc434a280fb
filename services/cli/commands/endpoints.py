"""`predictmesh endpoints`: what can be asked, and how."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

import click

from predictmesh.gateway.v1.prediction_service_pb2 import EndpointInfo, ListEndpointsRequest, PredictRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.gateway.v1.provenance_pb2 import RouteReason
from predictmesh.registry.v1.feature_view_pb2 import KeyType
from predictmesh.registry.v1.model_pb2 import TensorSpec
from predictmesh.registry.v1.registry_service_pb2 import DeleteRequest, GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli import durations
from services.cli.client import connect
from services.cli.deletion import Deletion, deletes
from services.cli.errors import Mistake
from services.cli.labels import words
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json, print_pairs, print_table, print_yaml
from services.cli.resources.endpoints import show_endpoint
from services.cli.values import type_name, values_of


class _ShowGroup(click.Group):
    """A group whose command `show` need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `show` before what names no command."""
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["show", *args])


@click.group(cls=_ShowGroup)
def command() -> None:
    """List the endpoints and how to call them.

    `predictmesh endpoints` is `predictmesh endpoints show`, with all that may follow.
    """


@command.command("show")
@click.argument("name", required=False)
@click.option("--yaml", "as_yaml", is_flag=True, help="Show NAME as the YAML that defines it.")
@timeout_option()
@json_option
@connects("gateway", "registry")
def show(name: str | None, as_yaml: bool, timeout_s: float, as_json: bool, services: Services) -> None:
    """List the endpoints, or show how to call the one called NAME.

    With a command that can be pasted.
    """
    if as_yaml:
        _print_definition(name, timeout_s, services)
        return
    with connect(services.grpc("gateway"), PredictionServiceStub) as gateway:
        response = gateway.ListEndpoints(ListEndpointsRequest(), timeout=timeout_s)
    endpoints = [info for info in response.endpoints if name in {None, info.name}]
    if name and not endpoints:
        raise _unknown(name)
    if as_json:
        print_json([plain(info) for info in endpoints])
    elif name:
        _print_one(endpoints[0])
    else:
        _print_list(endpoints)


def _print_definition(name: str | None, timeout_s: float, services: Services) -> None:
    if name is None:
        raise click.UsageError("--yaml needs a NAME")
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        endpoints = registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot.endpoints
    endpoint = next((endpoint for endpoint in endpoints if endpoint.name == name), None)
    if endpoint is None:
        raise _unknown(name)
    print_yaml(show_endpoint(endpoint))


def _unknown(name: str) -> Mistake:
    return Mistake(f"no endpoint {name!r} [UNKNOWN_ENDPOINT] (`predictmesh endpoints` lists them)")


@command.command("delete")
@click.argument("name")
@deletes
def delete(name: str, deletion: Deletion) -> None:
    """Delete the endpoint NAME.

    Its callers are refused from then on. A release of it that is under way ends with it.
    """
    deletion.make(DeleteRequest(endpoint=name), f"endpoint {name}")


def _print_list(endpoints: Sequence[EndpointInfo]) -> None:
    print_table(
        ["endpoint", "model", "version", "entity keys", "description"],
        [
            (info.name, info.model, _versions(info), ", ".join(key.name for key in info.entity_keys), info.description)
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
            "model": f"{info.model} {_versions(info)}",
            "entity keys": keys,
            "features": ", ".join(map(_spec, info.request_features)),
            "outputs": ", ".join(map(_spec, info.outputs)),
            "fallbacks": ", then ".join(info.fallbacks),
            "timeout": durations.exact(info.default_timeout_ms),
            "try": sample_command(info.name, info.sample),
        }
    )


def _versions(info: EndpointInfo) -> str:
    """Return the version that answers, or each with its share and why."""
    if len(info.versions) < 2:
        return info.version
    return ", ".join(
        f"{share.version} {share.percent:g} % ({words(RouteReason.Name, 'ROUTE_REASON_', share.reason)})"
        for share in info.versions
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
