"""Where the services are."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.cli.errors import Mistake
from services.cli.tls import Tls, told

GRPC_PORTS = {"gateway": 50051, "features": 50052, "model": 50053, "registry": 50054}
HTTP_PORTS = {"gateway": 8080, "features": 8082, "model": 8083, "registry": 8084}
SERVICES = tuple(GRPC_PORTS)


@dataclass(frozen=True)
class Target:
    """Address of a service's port, HOST:PORT, and who said so. There are commas between those of several replicas.

    With `tls` calls to it are TLS. With `token` they show it.
    """

    service: str
    address: str
    source: str
    tls: Tls | None = None
    token: str = field(default="", repr=False)

    @property
    def addresses(self) -> Sequence[str]:
        """Return the address of each replica."""
        return self.address.split(",")

    @property
    def replicas(self) -> Sequence[Replica]:
        """Return each replica by itself."""
        return [
            Replica(self.service if number == 1 else f"{self.service}-{number}", address, self.source)
            for number, address in enumerate(self.addresses, start=1)
        ]

    def __str__(self) -> str:
        return f"{self.service} at {self.address} ({self.source})"


@dataclass(frozen=True)
class Replica:
    """One process of a service: what `up` calls it, its address, and who said so."""

    name: str
    address: str
    source: str

    def __str__(self) -> str:
        return f"{self.name} at {self.address} ({self.source})"


def read_up(data: Path) -> dict[str, Any]:
    """Return the readiness line of the `up` that runs on `data`; empty if none does."""
    try:
        line: dict[str, Any] = json.loads((data / "up.json").read_text())
        # One that was killed has left its line behind.
        return line if _is_alive(line["supervisor"]) else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        raise Mistake(f"cannot read {data / 'up.json'}: {error!r}") from error


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def find_grpc(service: str, given: str | None, data: Path, tls: Tls | None = None) -> Target:
    """Return the gRPC target of `service`: as given, else of the running `up`, else the default port.

    That of the `up` is called with the certificates of its services unless with `tls`.
    """
    running = read_up(data) if not given else {}
    target = _find(service, given, f"--{service}", running, data, GRPC_PORTS)
    return replace(target, tls=tls or told(running))


def find_http(service: str, given: str | None, data: Path) -> Target:
    """Return the HTTP target of `service`: as given, else of the running `up`, else the default port."""
    return _find(service, given, "--http", read_up(data).get("http", {}) if not given else {}, data, HTTP_PORTS)


def _find(
    service: str, given: str | None, option: str, running: dict[str, Any], data: Path, ports: dict[str, int]
) -> Target:
    if given:
        return Target(service, given, option)
    if service in running:
        return Target(service, str(running[service]), str(data / "up.json"))
    return Target(service, f"127.0.0.1:{ports[service]}", "default port")
