"""A gRPC server with health, reflection and the chain of interceptors around every call of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import grpc
from google.protobuf import descriptor_pool
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from predictmesh.mesh.v1 import exchange_service_pb2 as pb
from services.mesh.accepting import TAKES_AHEAD, AcceptingServer
from services.mesh.admission.gate import Gate
from services.mesh.channel import KEEPALIVE_S
from services.mesh.errors import MeshError
from services.mesh.exchange.server import Exchange
from services.mesh.interceptors import NO_GATES
from services.mesh.interceptors.errors import tolerant
from services.mesh.methods import Interceptor, Method, Servicer, StreamCall, UnaryCall, intercepted
from services.mesh.refusing import Barring, Refusing, for_services
from services.mesh.security.guard import Guard
from services.mesh.security.identity import Identity
from services.mesh.settings import ServiceSettings
from services.mesh.status import to_status

# Calls of one connection at most; a client keeps further ones to itself. Answers that it does not read count, too.
MOST_STREAMS = 1024
PENDING = "grpc.server.max_pending_requests"
# From none on, a call that cannot be taken at once is refused by chance; from so many on, for certain.
MOST_PENDING = 16


class PortTaken(Exception):
    """Another process listens on the port."""


class MeshServer:
    """Listens from `start` to `stop`; `address` is where. `calls` counts what has come, over streams of calls, too.

    `gates` let calls in, by the paths of methods; calls are taken from the network by the room that they have. With
    `identity` the port is TLS; with `guard` callers have to be known.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        gates: Mapping[str, Gate] = NO_GATES,
        identity: Identity | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._gates = gates
        self._guard = guard
        self._server = AcceptingServer(_options(settings, gated=bool(gates) and TAKES_AHEAD))
        for gate in gates.values():
            gate.on_room = self._server.room_left
            self._server.bound(gate.to_take)
        self._health = HealthServicer()
        self.serving = False
        self._services: list[str] = []
        self._methods: list[Method] = []
        self._handlers: list[_Methods] = []
        self._exchange: Exchange | None = None
        self._max_message_bytes = settings.max_message_bytes
        self.address = f"{settings.host}:{_listen(self._server, settings, identity)}"

    def add(self, servicers: Sequence[Servicer], chain: Sequence[Interceptor]) -> None:
        """Serve `servicers` inside `chain`. Calls that their gate or the guard does not let in are refused before they are read."""
        methods = [intercepted(method, chain) for servicer in servicers for method in servicer.methods()]
        self._handlers.append(_Methods(methods, self._gates, self._guard))
        self._server.add_generic_rpc_handlers((self._handlers[-1],))
        self._services += dict.fromkeys(method.service for method in methods)
        self._methods += methods

    async def start(self) -> None:
        """Listen. Health says NOT_SERVING until `set_serving`."""
        self._exchange = Exchange(self._methods, max_message_bytes=self._max_message_bytes)
        self._server.add_generic_rpc_handlers((_exchange_handler(self._exchange, self._guard),))
        unregistered = cast("grpc.aio.Server", _Unregistered(self._server))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, unregistered)
        reflection.enable_server_reflection(
            (*self._services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME),
            unregistered,
            pool=descriptor_pool.Default(),
        )
        await self.set_serving(False)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """Tell health checks of every service whether to send calls here."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, state)
        self.serving = serving

    @property
    def calls(self) -> int:
        """Return how many calls of our methods have come."""
        exchanged = self._exchange.calls if self._exchange is not None else 0
        return exchanged + sum(handlers.calls for handlers in self._handlers)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those under way end within `grace_s`, then end them."""
        if self._exchange is not None:
            self._exchange.drain()
        await self._server.stop(grace_s)


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a call by its path, and counts the calls."""

    def __init__(self, methods: Sequence[Method], gates: Mapping[str, Gate], guard: Guard | None) -> None:
        self.calls = 0
        self._barring = None if guard is None else Barring(guard, methods, gates)
        self._handlers = {method.path: _handler(method) for method in methods}
        self._refusing = {
            method.path: Refusing(method, gates[method.path]) for method in methods if method.path in gates
        }

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers the call; None if it is no method of these."""
        handler = self._handlers.get(call.method)
        if handler is None:
            return None
        self.calls += 1
        barred = None if self._barring is None else self._barring.handler(call.method, call.invocation_metadata)
        if barred is not None:
            return barred
        refusing = self._refusing.get(call.method)
        refused = None if refusing is None else refusing.handler(call.invocation_metadata)
        return refused or handler


class _Unregistered:
    """A server as generated code adds to it, which takes handlers in their generic form only.

    grpc.aio waits for a call of each method that is registered anew with every call that comes: ten of them cost each
    call a quarter more than one does.
    """

    def __init__(self, server: AcceptingServer) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Leave it at the generic form, which has come before and holds the same."""


def _listen(server: AcceptingServer, settings: ServiceSettings, identity: Identity | None) -> int:
    """Take the port, and return its number. PortTaken if that cannot be."""
    address = f"{settings.host}:{settings.grpc_port}"
    try:
        if identity is None:
            return server.add_insecure_port(address)
        of_clients = settings.tls_ca_file is not None and settings.tls_client_certificates
        return server.add_secure_port(address, identity.server_credentials(of_clients=of_clients))
    except RuntimeError as error:
        raise PortTaken(f"cannot listen on {address}; another process may do so") from error


def _options(settings: ServiceSettings, *, gated: bool) -> list[tuple[str, int]]:
    options = [
        ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a silent share of its calls
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_S * 500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        # The lower one alone is refused by chance between the two.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
    ]
    if gated:
        # Calls that are not taken wait where nobody sees them: few of them, or all would be late.
        options += [(PENDING, 0), (f"{PENDING}_hard_limit", MOST_PENDING)]
    if settings.max_connection_age_s:
        options.append(("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000))
    return options


def _handler(method: Method) -> grpc.RpcMethodHandler[Any, Any]:
    deserialize = tolerant(method.deserialize)
    if method.unary is not None:
        make = grpc.stream_unary_rpc_method_handler if method.request_streaming else grpc.unary_unary_rpc_method_handler
        return make(_answering(method.unary), deserialize, method.serialize)
    assert method.stream is not None
    make = grpc.stream_stream_rpc_method_handler if method.request_streaming else grpc.unary_stream_rpc_method_handler
    return make(_streaming(method.stream), deserialize, method.serialize)


def _exchange_handler(exchange: Exchange, guard: Guard | None) -> grpc.GenericRpcHandler:
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        exchange.serve if guard is None else for_services(exchange.serve, guard),  # coroutines that write by themselves
        tolerant(pb.ExchangeRequest.FromString),
        pb.ExchangeResponse.SerializeToString,
    )
    name = pb.DESCRIPTOR.services_by_name["ExchangeService"].full_name
    return grpc.method_handlers_generic_handler(name, {"Exchange": handler})


def _answering(call: UnaryCall) -> UnaryCall:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await call(request, context)
        except MeshError as error:
            status = to_status(error)
        return await _abort(context, status)

    return answer


def _streaming(call: StreamCall) -> StreamCall:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        try:
            async for response in call(request, context):
                yield response
        except MeshError as error:
            status = to_status(error)
        else:
            return
        await _abort(context, status)

    return answer


async def _abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    rich = rpc_status.to_status(status)
    # abort_with_status would drop the request id; aio takes the trailing metadata as an argument of abort.
    trailing = (*(context.trailing_metadata() or ()), *rich.trailing_metadata)
    await context.abort(rich.code, rich.details, trailing)
