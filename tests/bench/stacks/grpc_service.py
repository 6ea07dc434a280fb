"""A naive mesh over grpc.aio on uvloop: `gateway`, `features` and `model`, which call each other once for each request.

Callers see the messages of predictmesh's own gateway; between the services go the tensors alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import redis.asyncio
import uvloop

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.bench.load import PREDICT
from tests.bench.stacks import stored
from tests.bench.stacks.scoring import Scorer

CALL = "/bench.Naive/Call"
Handler = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]


def gateway(features: str, model: str) -> Handler:
    """Ask the one, then the other."""
    read, score = _method(features), _method(model)

    async def predict(request: PredictRequest, context: grpc.aio.ServicerContext[Any, Any]) -> PredictResponse:
        columns = {column.name: column.strings[0] for column in request.entities}
        row = await read(Tensor(strings=[columns[view] for view in stored.VIEWS]), timeout=5)
        answer = await score(row, timeout=5)
        return PredictResponse(outputs=[Tensor(name="score", floats=answer.floats)])

    return predict


def features(url: str) -> Handler:
    """Read the rows of an entity of each view."""
    store = redis.asyncio.Redis.from_url(url)

    async def read(request: Tensor, context: grpc.aio.ServicerContext[Any, Any]) -> Tensor:
        keys = [stored.key(view, entity) for view, entity in zip(stored.VIEWS, request.strings, strict=True)]
        return Tensor(floats=stored.row(await store.mget(keys))[0])

    return read


def model(path: str) -> Handler:
    """Score a row."""
    scorer = Scorer(path)

    async def score(request: Tensor, context: grpc.aio.ServicerContext[Any, Any]) -> Tensor:
        return Tensor(floats=[scorer.score(np.array([request.floats], np.float32))])

    return score


def _method(target: str) -> grpc.aio.UnaryUnaryMultiCallable[Tensor, Tensor]:
    return grpc.aio.insecure_channel(target).unary_unary(CALL, Tensor.SerializeToString, Tensor.FromString)


async def _serve(arguments: argparse.Namespace) -> None:
    handlers: dict[str, Callable[[], tuple[str, Any, Handler]]] = {
        "gateway": lambda: (PREDICT, PredictRequest, gateway(arguments.features, arguments.model)),
        "features": lambda: (CALL, Tensor, features(os.environ["BENCH_REDIS"])),
        "model": lambda: (CALL, Tensor, model(os.environ["BENCH_MODEL"])),
    }
    path, request, handler = handlers[arguments.service]()
    _, service, method = path.split("/")
    rpc: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
        handler, request.FromString, lambda message: message.SerializeToString()
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: rpc}),))
    server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Run one of the services."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=["gateway", "features", "model"])
    parser.add_argument("port", type=int)
    parser.add_argument("--features", help="where the gateway finds them")
    parser.add_argument("--model")
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
