"""Whether a process can be used yet."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

from services.cli.fetch import fetch

Probe = Callable[[], str]
"""Returns "" when ready, else why not."""

_TIMEOUT_S = 2.0


def http_probe(address: str, path: str = "/readyz") -> Probe:
    """Return the probe that asks `path`, which answers with status 200 when ready."""

    def probe() -> str:
        try:
            status, body = fetch(address, path, _TIMEOUT_S)
        except OSError:
            return "not listening yet"
        return "" if status == 200 else _reason(body)

    return probe


def redis_probe(port: int) -> Probe:
    """Return the probe that sends PING; a server that still loads its data answers with an error."""

    def probe() -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError:
            return "not listening yet"
        return "" if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()

    return probe


def _reason(body: str) -> str:
    try:
        return str(json.loads(body)["reason"])
    except (ValueError, KeyError, TypeError):
        return body or "not ready"
