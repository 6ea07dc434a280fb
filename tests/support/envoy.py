"""A real Envoy for tests, and what it tells of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.cli.envoy import ADMIN, find, is_ready, start
from services.cli.errors import Failure
from services.cli.fetch import fetch
from tests.parts import lacking
from tests.support.ending import end
from tests.support.waiting import until

READY_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0


@dataclass(frozen=True)
class Proxy:
    """A running Envoy; `directory` has its configuration, log and where its operator asks it."""

    directory: Path

    def stat(self, name: str) -> int:
        """A counter or gauge; 0 where there is none yet."""
        found = json.loads(self._ask(f"/stats?format=json&filter=^{name}$"))["stats"]
        return int(next((each["value"] for each in found if "value" in each), 0))

    def stats(self, pattern: str) -> dict[str, int]:
        """The counters and gauges whose name matches a regular expression."""
        found = json.loads(self._ask(f"/stats?format=json&filter={pattern}"))["stats"]
        return {each["name"]: int(each["value"]) for each in found if "value" in each}

    def health(self, cluster: str) -> dict[int, Mapping[str, Any]]:
        """What is said against each host of a cluster, by its port; nothing where it is well."""
        found = json.loads(self._ask("/clusters?format=json"))["cluster_statuses"]
        [hosts] = [each["host_statuses"] for each in found if each["name"] == cluster]
        return {
            each["address"]["socket_address"]["port_value"]: {
                name: value for name, value in each["health_status"].items() if value is True
            }
            for each in hosts
        }

    def _ask(self, path: str) -> str:
        status, body = fetch((self.directory / ADMIN).read_text(), path, 5)
        assert 200 == status, body
        return body


def installed_envoy() -> Path:
    """The Envoy of this machine; without one the test is skipped, or fails under CI=true."""
    try:
        return find()
    except Failure as failure:
        lacking(failure.message)


@contextmanager
def envoy(configuration: Mapping[str, Any], directory: Path) -> Iterator[Proxy]:
    """Run one for the time of the context."""
    binary = installed_envoy()
    directory.mkdir(parents=True, exist_ok=True)
    process = start(binary, configuration, directory)
    try:
        until(lambda: is_ready(directory) or process.poll() is not None, bool, within_s=READY_LIMIT_S)
        assert process.poll() is None, (directory / "log").read_text()
        yield Proxy(directory)
    finally:
        end(process, STOP_LIMIT_S)
