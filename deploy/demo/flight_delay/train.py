"""`python -m deploy.demo.flight_delay.train OUTPUTS`: make the models and the recording, unless they are there."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.demo.flight_delay import cache
from deploy.demo.flight_delay.definitions import read_versions

METRICS = ("auc", "average_precision", "log_loss", "rows_test")


def ensure(outputs: Path, announce: Callable[[str], None]) -> bool:
    """Make the outputs if the pipeline has changed since they were made; whether it had to run.

    `announce` is called with each step before it begins.
    """
    if cache.is_current(outputs):
        return False
    # Imported here: scikit-learn and pandas take seconds that a cached run should not pay.
    from deploy.demo.flight_delay import pipeline  # noqa: PLC0415

    cache.begin(outputs)
    pipeline.run(outputs, announce)
    cache.complete(outputs)
    return True


def read_metrics(outputs: Path, version: str) -> dict[str, float]:
    """The metrics of a version on the test months."""
    metrics: dict[str, float] = json.loads((outputs / f"{version}.json").read_text())["metrics"]
    return metrics


def summary(outputs: Path) -> str:
    """A table of the versions' metrics on the test months."""
    lines = [f"{'version':<10}" + "".join(f"{name:>20}" for name in METRICS)]
    for version in read_versions():
        metrics = read_metrics(outputs, version.version)
        cells = (
            f"{metrics[name]:>20.4f}" if isinstance(metrics[name], float) else f"{metrics[name]:>20,}"
            for name in METRICS
        )
        lines.append(f"{version.version:<10}" + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Train the flight-delay versions and record the test window.")
    parser.add_argument("outputs", type=Path, help="folder for the models, their reports and the recording")
    outputs = parser.parse_args().outputs
    started = time.perf_counter()
    made = ensure(outputs, print)
    print(summary(outputs))
    print(f"{'made' if made else 'unchanged'} in {time.perf_counter() - started:.1f} s: {outputs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
