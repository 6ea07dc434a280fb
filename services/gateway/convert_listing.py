"""The routing table as callers list it: every endpoint with a request that can be sent."""

from __future__ import annotations

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.registry.v1 import feature_view_pb2, model_pb2
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.assembly import zeros
from services.gateway.convert import DATA_TYPES, VALUE_FIELDS, tensor_of
from services.gateway.routing import Endpoint, RoutingTable
from services.gateway.target import DType, Target


def encode_endpoints(table: RoutingTable) -> gateway_pb.ListEndpointsResponse:
    """Return what callers need to know of every endpoint."""
    infos = [_endpoint_info(endpoint) for _, endpoint in sorted(table.endpoints.items())]
    return gateway_pb.ListEndpointsResponse(endpoints=infos, snapshot_revision=table.revision)


def _endpoint_info(endpoint: Endpoint) -> gateway_pb.EndpointInfo:
    target = endpoint.default.target
    return gateway_pb.EndpointInfo(
        name=endpoint.name,
        description=endpoint.description,
        model=endpoint.versions.model,
        version=target.version,
        entity_keys=[
            feature_view_pb2.KeyColumn(
                name=key.name,
                type=feature_view_pb2.KEY_TYPE_INT64 if key.is_int else feature_view_pb2.KEY_TYPE_STRING,
            )
            for key in target.keys
        ],
        request_features=[
            _spec(name, feed.dtype, () if source.width == 1 else (source.width,), feed.finite)
            for name, (feed, source) in target.required.items()
        ],
        outputs=[_spec(output.name, output.dtype, output.shape, output.finite) for output in target.outputs],
        default_timeout_ms=int(endpoint.default_timeout_s * 1000),
        sample=_sample(endpoint, target),
        versions=[
            gateway_pb.VersionShare(version=route.target.version, percent=percent, reason=route.reason.value)  # type: ignore[arg-type]
            for route, percent in endpoint.split.shares()
        ],
        fallbacks=[step.subject for step in endpoint.fallbacks.get(target, ())],
    )


def _spec(name: str, dtype: DType, shape: tuple[int, ...], finite: bool) -> model_pb2.TensorSpec:
    return model_pb2.TensorSpec(name=name, data_type=DATA_TYPES[dtype], shape=shape, finite=finite)  # type: ignore[arg-type]


def _sample(endpoint: Endpoint, target: Target) -> gateway_pb.PredictRequest:
    """Return a request that can be sent: the endpoint's own as far as this version takes it, the rest made up."""
    given = endpoint.sample_entities
    keys = given if {column.name for column in given} == target.key_index.keys() else _sample_keys(target)
    features = [column for column in endpoint.sample_features if column.name in target.overridable]
    rows = 1
    if keys:
        rows = _length(keys[0])
    elif features:
        rows = _length(features[0]) // target.overridable[features[0].name][0][1].width
    missing = target.required.keys() - {column.name for column in features}
    made_up = [_sample_feature(name, rows, target) for name in target.required if name in missing]
    return gateway_pb.PredictRequest(endpoint=endpoint.name, entities=keys, features=[*features, *made_up])


def _length(tensor: Tensor) -> int:
    return max(len(getattr(tensor, kind)) for kind in VALUE_FIELDS)


def _sample_keys(target: Target) -> list[Tensor]:
    return [
        Tensor(name=key.name, ints=[1]) if key.is_int else Tensor(name=key.name, strings=["key"]) for key in target.keys
    ]


def _sample_feature(name: str, rows: int, target: Target) -> Tensor:
    feed, source = target.required[name]
    return tensor_of(name, feed.dtype, (), zeros(feed.dtype, rows * source.width))
