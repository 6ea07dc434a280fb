"""Prints what a load takes: `python -m tests.bench.capacity --predictions 1000000 --cells 10`.

With `--measure` memory is measured anew, and written beside the other results.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.table import Table

from tests.bench import machine
from tests.bench.capacity.footprint import Footprint, measure
from tests.bench.capacity.plan import CORES, RESULTS, Load, cpu_us, footprint_of, planned, read, store_bytes
from tests.bench.report import console

FOOTPRINT = "footprint.json"


def main() -> None:
    """Plan for one load, or for several."""
    options = _options()
    if options.measure:
        written = {"machine": machine.describe(), "footprint": asdict(measure())}
        (RESULTS / FOOTPRINT).write_text(json.dumps(written, indent=1) + "\n")
    _show(options, footprint_of(read(FOOTPRINT)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a load takes, by the figures of the benchmarks.")
    parser.add_argument(
        "--predictions", type=float, nargs="+", default=[1e4, 1e5, 1e6], help="a second, of one row each"
    )
    parser.add_argument("--entities", type=int, default=3, help="feature rows that a prediction reads")
    parser.add_argument(
        "--cells", type=int, nargs="+", default=[1, 1, 10], help="meshes beside each other, for each load"
    )
    parser.add_argument("--utilization", type=float, default=0.65, help="of a core, on average")
    parser.add_argument("--rows", type=float, default=1e8, help="feature rows that are stored")
    parser.add_argument("--floats", type=int, default=4, help="FP32 in a row")
    parser.add_argument("--measure", action="store_true", help="measure memory anew")
    return parser.parse_args()


def _show(options: argparse.Namespace, footprint: Footprint) -> None:
    cpu = cpu_us(read("two_cores.json"))
    table = Table(
        "predictions/s", "cells", *(f"{name} pods" for name in CORES), "store primaries", "cores", title="of all cells"
    )
    for predictions, cells in zip(options.predictions, options.cells, strict=True):
        load = Load(predictions, options.entities, options.utilization, cells)
        plan = planned(load, cpu, footprint.read_us)
        counts = [cells * count for count in (*plan.pods.values(), plan.store_primaries, plan.cores)]
        table.add_row(f"{predictions:,.0f}", str(cells), *(f"{count:,}" for count in counts))
    console().print(table)
    spent = ", ".join(f"{name} {us:.0f} us" for name, us in cpu.items())
    size = store_bytes(footprint, options.rows, options.floats)
    print(f"CPU of a prediction: {spent}, and {footprint.read_us:.1f} us of the store for each feature row")
    print(f"{options.rows:,.0f} feature rows of {options.floats} FP32 take {size / 2**30:.1f} GiB of the store")


if __name__ == "__main__":
    main()
