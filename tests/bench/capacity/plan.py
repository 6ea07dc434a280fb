"""What a load takes: pods by CPU, the store's memory and processors, by figures of the benchmarks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.capacity.footprint import Footprint

RESULTS = Path(__file__).parents[1] / "results"
SERVICES = ("gateway", "features", "model")
# Most of the requests of one gateway that are under way at once, in the runs that its CPU is taken from.
CALLERS = 64


@dataclass(frozen=True)
class Load:
    """What is asked: predictions a second of one row, of so many entities (feature rows read) each."""

    predictions: float
    entities: int = 3
    # Of a core. What is left is for peaks, for a zone that is lost, and for latency.
    utilization: float = 0.65
    cells: int = 1


@dataclass(frozen=True)
class Plan:
    """Of one cell. A pod of a gateway or of the feature service is a core, one of the model service two."""

    pods: Mapping[str, int]
    store_primaries: int

    @property
    def cores(self) -> int:
        """Cores of all pods and of the store's primaries."""
        return sum(count * CORES[service] for service, count in self.pods.items()) + self.store_primaries


CORES = {"gateway": 1, "features": 1, "model": 2}


def cpu_us(results: Mapping[str, Any], callers: int = CALLERS) -> dict[str, float]:
    """Return microseconds of CPU a prediction, by service: the median of the runs of the mesh."""
    runs = [run for run in results["runs"] if (run["rival"], run["callers"], run["rows"]) == ("mesh", callers, 1)]
    return {service: median(run["cpu_us"].get(service, 0) for run in runs) for service in SERVICES}


def planned(load: Load, cpu: Mapping[str, float], read_us: float) -> Plan:
    """Return what each of the cells takes; two of each at least, so that one can be away."""
    rate = load.predictions / load.cells
    pods = {
        service: max(2, math.ceil(rate * us / 1e6 / load.utilization / CORES[service])) for service, us in cpu.items()
    }
    return Plan(pods, max(1, math.ceil(rate * load.entities * read_us / 1e6 / load.utilization)))


def store_bytes(footprint: Footprint, rows: float, floats: int) -> float:
    """Return the store's memory for so many rows of `floats` FP32: what is measured, and between that in proportion."""
    below = max((width for width in footprint.row_bytes if width <= floats), default=min(footprint.row_bytes))
    return rows * (footprint.row_bytes[below] + 4 * max(0, floats - below))


def read(name: str) -> Any:
    """Return the committed results of a benchmark."""
    return json.loads((RESULTS / name).read_text())


def footprint_of(results: Mapping[str, Any]) -> Footprint:
    """Return the footprint as it was written."""
    figures = dict(results["footprint"])
    return Footprint(**figures | {"row_bytes": {int(width): size for width, size in figures["row_bytes"].items()}})
