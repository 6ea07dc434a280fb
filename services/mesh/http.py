"""The HTTP port of a process: /metrics, /healthz, /readyz and /statusz."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

# A loop that does not turn for so long answers nobody.
LIVENESS_LIMIT_S = 2.0
# How long it takes the port to notice that it is to close.
POLL_S = 0.1


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking DNS for the name of the host, which can take seconds where there is none."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature is the library's
        """Keep scrapes and probes out of the log."""


class HttpPort:
    """Serves from a thread of its own, so that it can tell when the event loop hangs."""

    def __init__(
        self, host: str, port: int, *, ready: Callable[[], str], status: Callable[[], dict[str, object]]
    ) -> None:
        self._ready = ready
        self._status = status
        self._metrics = make_wsgi_app()
        self._loop = asyncio.get_running_loop()
        self._server = make_server(host, port, self._answer, server_class=_Server, handler_class=_Quiet)
        self.address = f"{host}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True, name="http").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)  # type: ignore[no-any-return]
            case "/healthz" | "/readyz" | "/statusz" as path:
                return _json(start_response, *self._asked(path))
            case path:
                return _json(start_response, 404, {"error": f"no {path}; there are /metrics /healthz /readyz /statusz"})

    def _asked(self, path: str) -> tuple[int, dict[str, object]]:
        """Return the answer as the event loop gives it, since it alone may read its state."""
        asked = asyncio.run_coroutine_threadsafe(self._state(path), self._loop)
        try:
            return asked.result(LIVENESS_LIMIT_S)
        except TimeoutError:
            asked.cancel()
            return 503, {"alive": False, "reason": f"the event loop has not turned for {LIVENESS_LIMIT_S:g} s"}

    async def _state(self, path: str) -> tuple[int, dict[str, object]]:
        match path:
            case "/healthz":
                return 200, {"alive": True}
            case "/readyz":
                why_not = self._ready()
                return 503 if why_not else 200, {"ready": not why_not, "reason": why_not}
            case _:
                return 200, self._status()


_TEXT = {200: "200 OK", 404: "404 Not Found", 503: "503 Service Unavailable"}


def _json(start_response: StartResponse, code: int, body: object) -> Iterable[bytes]:
    start_response(_TEXT[code], [("Content-Type", "application/json")])
    return [orjson.dumps(body, default=str)]
