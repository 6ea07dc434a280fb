"""JSON over HTTP from the services' own ports."""

from __future__ import annotations

import http.client
import json
from typing import Any


def fetch(address: str, path: str, timeout_s: float) -> tuple[int, str]:
    """Return status and body of a GET. OSError if nobody answers within `timeout_s` seconds."""
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdecimal()):
        raise OSError(f"{address} is not HOST:PORT")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer from {address}: {error!r}") from error
    finally:
        connection.close()


def fetch_json(address: str, path: str, timeout_s: float) -> tuple[int, Any]:
    """Return status and parsed body of a GET. OSError if nobody answers, or with something else."""
    status, body = fetch(address, path, timeout_s)
    try:
        return status, json.loads(body)
    except ValueError as error:
        raise OSError(f"{address}{path} answers {status} and no JSON") from error
