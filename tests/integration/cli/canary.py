"""An endpoint of its own for the tests of releases, and callers of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import grpc

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.integration.cli.conftest import World

NAME = "delay-canary"
CANARY = f"""\
kind: Endpoint
name: {NAME}
model: delay
route: {{version: 1.0.0}}
sticky_key: tail
outcomes: {{output: y, kind: regression, expire: 1h}}
"""


def ask(gateway: PredictionServiceStub, number: int) -> str:
    """Ask for the plane of that number; returns the version that answered."""
    request = PredictRequest(
        endpoint=NAME,
        entities=[Tensor(name="tail", strings=[f"N{number}"]), Tensor(name="slot", ints=[1])],
        features=[Tensor(name="distance", floats=[float(number)])],
    )
    return gateway.Predict(request, timeout=10).provenance.version


@contextmanager
def gateway(world: World) -> Iterator[PredictionServiceStub]:
    """Call the gateway."""
    with grpc.insecure_channel(world.up.addresses.gateway) as channel:
        yield PredictionServiceStub(channel)


@contextmanager
def callers(world: World) -> Iterator[None]:
    """One caller after the other for the time of the context, each with a plane of its own."""
    over = threading.Event()

    def call() -> None:
        with gateway(world) as stub:
            for number in count():
                if over.wait(0.005):
                    return
                ask(stub, number)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
