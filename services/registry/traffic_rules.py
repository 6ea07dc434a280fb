"""The rules of a gateway's report: what breaks one was counted wrongly, and would make wrong decisions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

from services.mesh.errors import InvalidArgument
from services.registry.faults import Faults
from services.registry.totals import MAX_EXAMPLES, ArmTotals, Histogram, ShadowTotals

# Many processes together still fit a 64-bit integer.
MAX_COUNT = 2**53
MAX_SEQUENCE = 2**63 - 1
MAX_ID_LENGTH = 256
# Bins of the times that a process can measure: bin 320 is 2^40 microseconds, twelve days.
LAST_LATENCY_BIN = 320
LAST_DIFFERENCE_BIN = 81


def check_report(instance_id: str, sequence: int, arms: Sequence[ArmTotals], shadows: Sequence[ShadowTotals]) -> None:
    """InvalidArgument with every field that is wrong."""
    faults = Faults()
    if not 1 <= len(instance_id) <= MAX_ID_LENGTH:
        faults.add(InvalidArgument, "instance_id", f"a process is named by 1 to {MAX_ID_LENGTH} characters")
    if sequence > MAX_SEQUENCE:
        faults.add(InvalidArgument, "sequence", f"is at most {MAX_SEQUENCE}")
    _check_once([(arm.endpoint, arm.release_id, arm.step, arm.version) for arm in arms], "arms", faults)
    _check_once([(each.endpoint, each.primary, each.shadow) for each in shadows], "shadows", faults)
    for index, arm in enumerate(arms):
        _check_arm(arm, f"arms[{index}]", faults)
    for index, shadow in enumerate(shadows):
        _check_shadow(shadow, f"shadows[{index}]", faults)
    faults.check()


def _check_once(keys: Sequence[Hashable], path: str, faults: Faults) -> None:
    seen: set[Hashable] = set()
    for index, key in enumerate(keys):
        if key in seen:
            faults.add(InvalidArgument, f"{path}[{index}]", "is about the same as one before it")
        seen.add(key)


def _check_arm(arm: ArmTotals, path: str, faults: Faults) -> None:
    _check_count(arm.requests, MAX_COUNT, f"{path}.requests", faults)
    _check_count(arm.errors, arm.requests, f"{path}.errors", faults)
    _check_histogram(arm.latency, arm.requests, LAST_LATENCY_BIN, f"{path}.latency", faults)


def _check_shadow(shadow: ShadowTotals, path: str, faults: Faults) -> None:
    for name, most in (
        ("rows", MAX_COUNT),
        ("exact_rows", shadow.rows),
        ("tolerant_rows", shadow.rows),
        ("ranked_rows", shadow.rows),
        ("top1_rows", shadow.ranked_rows),
        ("errors", MAX_COUNT),
        ("dropped", MAX_COUNT),
    ):
        _check_count(getattr(shadow, name), most, f"{path}.{name}", faults)
    _check_histogram(shadow.differences, shadow.rows, LAST_DIFFERENCE_BIN, f"{path}.differences", faults)
    if len(shadow.worst) > MAX_EXAMPLES:
        faults.add(InvalidArgument, f"{path}.worst", f"has at most {MAX_EXAMPLES} examples, not {len(shadow.worst)}")


def _check_count(count: int, most: int, path: str, faults: Faults) -> None:
    # A total below 0 is told once, not again for each of its parts.
    if not 0 <= count <= max(most, 0):
        faults.add(InvalidArgument, path, f"is 0 to {most}, not {count}")


def _check_histogram(histogram: Histogram, most: int, last_bin: int, path: str, faults: Faults) -> None:
    bins, counts = histogram.bins, histogram.counts
    if len(bins) != len(counts):
        faults.add(InvalidArgument, f"{path}.counts", f"there are {len(counts)} for {len(bins)} bins")
    elif any(count < 1 for count in counts) or sum(counts) > max(most, 0):
        faults.add(InvalidArgument, f"{path}.counts", f"each is at least 1, and all together at most {most}")
    if any(low >= high for low, high in pairwise(bins)) or (bins and bins[-1] > last_bin):
        faults.add(InvalidArgument, f"{path}.bins", f"ascend to at most {last_bin}")
