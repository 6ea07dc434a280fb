"""A real Prometheus for tests, with the configuration and the rules of `deploy/telemetry`.

    with prometheus(tmp_path, {"gateway": "127.0.0.1:8080"}) as server:
        server.value('up{job="gateway"}')

Where none is installed the test is skipped, or fails under CI=true.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.parts import program
from tests.support.ending import end
from tests.support.waiting import until
from tests.worlds.ports import port_row

TELEMETRY = Path(__file__).parents[2] / "deploy" / "telemetry"
# A look may take no longer, and that of the model service waits a second for a Triton that is slow to tell.
INTERVAL = "1500ms"
LIMIT_S = 30.0


@dataclass(frozen=True)
class Prometheus:
    """A running server; `address` is HOST:PORT."""

    address: str

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        with urlopen(f"http://{self.address}/api/v1/{path}?{urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the value of each series, by its labels but for its name."""
        found = self.get("query", query=expression)["result"]
        return {
            tuple(sorted((name, text) for name, text in series["metric"].items() if name != "__name__")): float(
                series["value"][1]
            )
            for series in found
        }

    def value(self, expression: str) -> float | None:
        """Return the value of an expression that has one series at most; None without one."""
        values = list(self.query(expression).values())
        assert len(values) <= 1, f"{expression} has {len(values)} series"
        return values[0] if values else None

    def until_all_are(self, expression: str, value: float) -> None:
        """Wait until there are series of an expression, and all have this value."""
        until(lambda: set(self.query(expression).values()), lambda found: found == {value})

    def until_positive(self, expression: str) -> float:
        """Wait until an expression's one series is above zero, and return its value."""
        return until(lambda: self.value(expression) or 0.0, lambda value: value > 0)

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule, as far as it has been evaluated."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            with urlopen(f"http://{self.address}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


@contextmanager
def prometheus(directory: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """Run a server for the time of the context that scrapes each job's target, HOST:PORT, every INTERVAL."""
    executable, address = program("prometheus"), f"127.0.0.1:{port_row()}"
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(_configuration(targets)))
    command = [
        executable,
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Prometheus(address)
        until(server.is_ready, lambda ready: ready, within_s=LIMIT_S)
        yield server
    finally:
        end(process, LIMIT_S)


def _configuration(targets: Mapping[str, str]) -> dict[str, Any]:
    """The committed one, but for the targets, which are here, and how often they are asked."""
    made: dict[str, Any] = yaml.safe_load((TELEMETRY / "prometheus.yaml").read_text())
    made["global"] = dict.fromkeys(made["global"], INTERVAL)
    made["rule_files"] = [str(TELEMETRY / pattern) for pattern in made["rule_files"]]
    made["scrape_configs"] = [
        {"job_name": job["job_name"], "static_configs": [{"targets": [targets[job["job_name"]]]}]}
        for job in made["scrape_configs"]
    ]
    return made
