"""A channel to a service reaches all of its replicas, and none that is about to stop."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.cli.client import open_channel
from services.cli.errors import Mistake
from services.cli.targets import Target
from tests.support.valkey import wait_until


@dataclass
class Server:
    """A service that counts its calls, and says of its health what it is told to."""

    health: health.HealthServicer = field(default_factory=health.HealthServicer)
    address: str = ""
    calls: int = 0

    def serving(self, serving: bool) -> None:
        """Tell who watches."""
        status = health_pb2.HealthCheckResponse
        self.health.set("", status.SERVING if serving else status.NOT_SERVING)

    def answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Count."""
        self.calls += 1
        return request


@contextmanager
def server() -> Iterator[Server]:
    """Run one."""
    made, running = Server(), grpc.server(ThreadPoolExecutor(4))
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(made.answer)
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),))
    health_pb2_grpc.add_HealthServicer_to_server(made.health, running)
    made.address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    made.serving(True)
    running.start()
    try:
        yield made
    finally:
        running.stop(None).wait()


def test_replicas_take_turns() -> None:
    """Both get calls; once one says that it is not serving, the other gets all of them."""
    with server() as one, server() as other:
        target = Target("gateway", f"{one.address},{other.address}", "--gateway")
        with open_channel(target) as channel:
            echo: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Echo/Echo")

            def both_called() -> bool:
                echo(b"", timeout=10)
                return bool(one.calls and other.calls)

            wait_until(both_called, "calls of both")
            one.serving(False)

            def left_alone() -> bool:
                before = one.calls
                for _ in range(10):
                    echo(b"", timeout=10)
                return one.calls == before

            wait_until(left_alone, "no more calls of the one that stops")


def test_names() -> None:
    """Only IP addresses can be listed; a name is told so."""
    for listed in ("here:1,there:1", "127.0.0.1:1,[::1]:1", "127.0.0.1:1,"):
        with pytest.raises(Mistake, match="several addresses are given as IP:PORT"):
            open_channel(Target("gateway", listed, "--gateway"))
