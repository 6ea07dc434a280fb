"""Requests for predictions from what stands on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import cast

import click
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.gateway.v1.prediction_service_pb2 import EndpointInfo, ListEndpointsRequest, PredictRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.registry.v1.feature_view_pb2 import KeyColumn, KeyType
from predictmesh.registry.v1.model_pb2 import TensorSpec
from predictmesh.registry.v1.registry_service_pb2 import GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.client import connect
from services.cli.errors import Mistake
from services.cli.options import Assignment, Command, Moment, Services, gather
from services.cli.values import fill, parse

Pairs = Sequence[tuple[str, str]]
DEFAULT_TIMEOUT_MS = 1_000


@dataclass(frozen=True)
class Ask:
    """What stands on the command line: columns as (name, text) pairs, a pair for each row."""

    endpoint: str
    entities: Pairs
    features: Pairs
    version: str
    as_of: Timestamp | None


def asks(command: Command) -> Command:
    """Add what a request consists of, given together as `ask`."""
    run = gather(command, "ask", Ask, [field.name for field in fields(Ask)])
    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]  # the same command with other parameters


_OPTIONS = (
    click.argument("endpoint"),
    click.option(
        "--entity",
        "entities",
        type=Assignment(),
        multiple=True,
        help="Key column, e.g. carrier=UA. Repeat a name for more rows.",
    ),
    click.option(
        "--feature",
        "features",
        type=Assignment(),
        multiple=True,
        help="Request-time feature, or view:field in place of a stored one; a list as JSON. Repeat a name for more rows.",
    ),
    click.option("--version", default="", help="Version, alias or range (1.x) to ask. Default: the endpoint's."),
    click.option("--as-of", type=Moment(), help="Moment that ages count from, RFC 3339. Default: now."),
)


def describe(gateway: PredictionServiceStub, endpoint: str, timeout_s: float) -> EndpointInfo:
    """Return what the gateway says of `endpoint`; of one that it does not know, nothing but the name."""
    response = gateway.ListEndpoints(ListEndpointsRequest(), timeout=timeout_s)
    return next((info for info in response.endpoints if info.name == endpoint), EndpointInfo(name=endpoint))


def build(ask: Ask, info: EndpointInfo, services: Services) -> PredictRequest:
    """Return the request. Names that the endpoint does not know are sent as text, for the gateway to judge."""
    return PredictRequest(
        endpoint=ask.endpoint,
        entities=key_columns(info.entity_keys, ask.entities),
        features=_features(info.request_features, services, ask.features),
        version=ask.version,
        as_of=ask.as_of,
    )


def key_columns(keys: Sequence[KeyColumn], pairs: Pairs) -> list[Tensor]:
    """Return the key columns that `pairs` give, each of its own type. Mistake if a value is of another."""
    types = {key.name: DataType.DATA_TYPE_INT64 for key in keys if key.type == KeyType.KEY_TYPE_INT64}
    return [
        _column(name, texts, types.get(name, DataType.DATA_TYPE_BYTES), "--entity")
        for name, texts in _columns(pairs).items()
    ]


def _features(specs: Sequence[TensorSpec], services: Services, pairs: Pairs) -> list[Tensor]:
    columns = _columns(pairs)
    known = {spec.name: spec for spec in specs}
    if any(":" in name for name in columns):
        known |= _stored_fields(services)
    return [_feature(known.get(name), name, texts) for name, texts in columns.items()]


def _feature(spec: TensorSpec | None, name: str, texts: Sequence[str]) -> Tensor:
    if spec is None:
        return _column(name, texts, DataType.DATA_TYPE_BYTES, "--feature")
    if not spec.shape:
        return _column(name, texts, spec.data_type, "--feature")
    tensor = Tensor(name=name, shape=[len(texts), *spec.shape])
    try:
        return fill(tensor, [value for text in texts for value in _list(text)], spec.data_type)
    except ValueError as error:
        raise Mistake(f"--feature {name}: {error}") from error


def _list(text: str) -> list[object]:
    """Return the elements of a JSON list, of its lists too; of anything else that one value."""
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError(f"{text!r} is no JSON list") from None
    return _flat(value)


def _flat(value: object) -> list[object]:
    return [element for item in value for element in _flat(item)] if isinstance(value, list) else [value]


def _column(name: str, texts: Sequence[str], data_type: DataType.ValueType, option: str) -> Tensor:
    try:
        return fill(Tensor(name=name), [parse(text, data_type) for text in texts], data_type)
    except ValueError as error:
        raise Mistake(f"{option} {name}: {error}") from error


def _columns(pairs: Pairs) -> Mapping[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for name, text in pairs:
        columns.setdefault(name, []).append(text)
    return columns


def _stored_fields(services: Services) -> dict[str, TensorSpec]:
    """Return the type and shape of every stored field by `view:field`; only the registry knows those."""
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        snapshot = registry.GetSnapshot(GetSnapshotRequest(), timeout=10).snapshot
    return {
        f"{view.name}:{field.name}": TensorSpec(
            data_type=field.data_type, shape=cast("list[int]", [field.length] if field.length else [])
        )
        for view in snapshot.feature_views
        for field in view.fields
    }
