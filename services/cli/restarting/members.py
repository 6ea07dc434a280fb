"""The processes of a running `up` that can be restarted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.cli.errors import Failure, Mistake
from services.cli.fetch import fetch_json
from services.cli.supervision.probes import http_probe
from services.cli.targets import SERVICES, find_grpc, find_http, read_up

ORDER = ("registry", "features", "model", "gateway")
"""Callers come after those whom they call, as when all is started."""
_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Member:
    """One process: what `up` calls it, the service that it is, and where it answers. `alone`: its service has no other."""

    name: str
    service: str
    grpc: str
    http: str
    alone: bool

    def pid(self) -> int | None:
        """Return the id of the process that answers there now; None while none does."""
        try:
            return int(fetch_json(self.http, "/statusz", _TIMEOUT_S)[1]["pid"])
        except (OSError, KeyError, TypeError):
            return None

    def why_not_ready(self) -> str:
        """Return why it cannot be called; empty if it can."""
        return http_probe(self.http)()


class Fleet:
    """What runs on a data directory. Failure if no `up` does."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._supervisor = self._line()["supervisor"]

    def members(self, services: Sequence[str]) -> Sequence[Member]:
        """Return the processes of some services, all of them by default, in the order to restart them."""
        unknown = [name for name in services if name not in SERVICES]
        if unknown:
            raise Mistake(f"no service {', '.join(unknown)}: there are {', '.join(SERVICES)}")
        found = [member for service in ORDER if not services or service in services for member in self._of(service)]
        # The monolith is the same process for all of them.
        return list({member.http: member for member in found}.values())

    def check(self) -> None:
        """Raise Failure if the `up` that was there at first has ended."""
        if self._line()["supervisor"] != self._supervisor:
            raise Failure(f"the `predictmesh up` on {self._data} has ended, and another runs now")

    def owns(self, member: Member, pid: int | None) -> bool:
        """Return whether a process is of this `up`, and the one that is meant."""
        pids: Sequence[int] = self._line().get("pids", {}).get(member.service, ())
        return pid in pids

    def _of(self, service: str) -> Sequence[Member]:
        line = self._line()
        monolith = line["gateway"] == line["registry"]
        http, grpc = find_http(service, None, self._data), find_grpc(service, None, self._data)
        return [
            Member(
                name="monolith" if monolith else replica.name,
                service=service,
                grpc=address,
                http=replica.address,
                alone=len(http.addresses) == 1,
            )
            for replica, address in zip(http.replicas, grpc.addresses, strict=True)
        ]

    def _line(self) -> Mapping[str, Any]:
        line = read_up(self._data)
        if not line:
            raise Failure(f"no `predictmesh up` runs on {self._data} (--data names another directory)")
        return line
