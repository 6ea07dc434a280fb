"""The methods of a servicer as data, so that a chain of interceptors is put around each once and not on every call.

`grpc.aio` would build its interceptor chain anew for every call; here both the server and `LocalStub` take the same
ready-made callables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import grpc


class ServerContext(Protocol):
    """What a handler may use of a call; gRPC's own context and `LocalContext` both have it."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None:
        """Return the caller's metadata."""

    def time_remaining(self) -> float | None:
        """Return seconds until the caller's deadline; None or decades if there is none."""

    def peer(self) -> str:
        """Return the caller's address."""

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """Send `metadata` after the answer."""


# Messages are of every type here, as in grpc itself.
UnaryCall = Callable[[Any, Any], Awaitable[Any]]
StreamCall = Callable[[Any, Any], AsyncIterator[Any]]


@dataclass(frozen=True)
class Method:
    """One rpc. `unary` answers one message, `stream` many; exactly one of them is set. Requests stream or not alike."""

    service: str
    name: str
    unary: UnaryCall | None
    stream: StreamCall | None
    request_streaming: bool
    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]

    @property
    def path(self) -> str:
        """The path of the rpc in HTTP/2: /package.Service/Method."""
        return f"/{self.service}/{self.name}"


class Interceptor(Protocol):
    """Behaviour around every call, given the method once, when the server is built."""

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Return `call` with the behaviour around it."""

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Return `call` with the behaviour around it."""


@dataclass(frozen=True)
class Servicer:
    """A servicer with the generated function that adds it to a server.

    `shared` are rpcs that send one and the same message to many callers, and never change it: it is serialized once.
    """

    add: Callable[[Any, Any], None]
    servicer: object
    shared: Collection[str] = ()

    def methods(self) -> list[Method]:
        """Return every rpc of the servicer."""
        recorder = _Recorder()
        self.add(self.servicer, recorder)
        return [
            replace(method, serialize=_once(method.serialize)) if method.name in self.shared else method
            for method in recorder.methods
        ]


def _once(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return `serialize`, but for the message that it has just had."""
    message, data = None, b""

    def serialized(given: Any) -> bytes:
        nonlocal message, data
        if given is not message:
            message, data = given, serialize(given)
        return data

    return serialized


class _Recorder:
    """Stands in for a server and notes what the generated code adds to it."""

    def __init__(self) -> None:
        self.methods: list[Method] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignore the generic form: the registered form that follows holds the same."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.methods += [_method(service, name, handler) for name, handler in handlers.items()]


def _method(service: str, name: str, handler: Any) -> Method:
    unary = handler.stream_unary if handler.request_streaming else handler.unary_unary
    stream = handler.stream_stream if handler.request_streaming else handler.unary_stream
    return Method(
        service=service,
        name=name,
        unary=None if handler.response_streaming else unary,
        stream=stream if handler.response_streaming else None,
        request_streaming=handler.request_streaming,
        deserialize=handler.request_deserializer,
        serialize=handler.response_serializer,
    )


def intercepted(method: Method, chain: Sequence[Interceptor]) -> Method:
    """Return `method` inside `chain`, whose first member is the outermost."""
    for interceptor in reversed(chain):
        if method.unary is not None:
            method = replace(method, unary=interceptor.unary(method, method.unary))
        if method.stream is not None:
            method = replace(method, stream=interceptor.stream(method, method.stream))
    return method
