"""REST calls, as curl makes them."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case name, and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """Why a call has failed, as our services say it."""
        return next((str(each["reason"]) for each in self.json["details"] if "reason" in each), "")


@dataclass(frozen=True)
class Rest:
    """A server at a port of this machine, and what is said to it with each call; with `tls` by https."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        """POST JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await asyncio.to_thread(self.ask, "POST", path, data, headers)

    async def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return await asyncio.to_thread(self.ask, "GET", path, None, headers)

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Ask on a connection of its own. Underscores in the names of `headers` stand for hyphens."""
        connection = self._connection()
        sent = {"host": self.host, "content-type": "application/json", **self.headers}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        return _Https(self.host, self.port, self.tls)


class _Https(http.client.HTTPSConnection):
    """A connection to this machine, to a host of another name."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
        self._named = host, context

    def connect(self) -> None:
        """Connect, and expect the certificate of the name."""
        http.client.HTTPConnection.connect(self)
        name, context = self._named
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
