"""What a replay amounts to: numbers for people and programs, and whether they are as they must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from deploy.demo.flight_delay.online.answers import Answers
from deploy.demo.flight_delay.online.chaos import Chaos, ChaosSummary, summarize_chaos
from deploy.demo.flight_delay.online.computed import RuntimeRows, count
from deploy.demo.flight_delay.online.session import Played
from deploy.demo.flight_delay.online.ways import Way
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason
from services.cli.labels import words

AUC_TOLERANCE = 0.002
SCORE_TOLERANCE = 1e-3
"""What a runtime may round differently; a GPU's TF32 most of all. ONNX Runtime on the CPU gives the same bits."""
MAX_DIFFERING = 1e-3
"""Share of answers that may differ by more: those with a feature at the edge of a cell of the graph's grid."""
AHEAD = words(DegradationReason.Name, "DEGRADATION_REASON_", DegradationReason.DEGRADATION_REASON_FEATURE_AHEAD)

Key = TypeVar("Key")


@dataclass(frozen=True)
class VersionSummary:
    """One version's answers beside its offline scores of the same departures, and its offline AUC of the whole window.

    An AUC is None where no departure, or every one, was late; `differing` answers have another score online, by more than
    a runtime may round. Percentiles are of the latency of calls, made as `asked` says; `batch_rows` is the mean of the rows that travelled
    with a call's, its own and those of other callers.
    """

    version: str
    asked: str
    calls: int
    answers: int
    auc_online: float | None
    auc_offline: float | None
    max_score_difference: float
    differing: int
    auc_offline_whole: float
    p50_ms: float
    p99_ms: float
    batch_rows: float
    runtimes: tuple[RuntimeRows, ...]


@dataclass(frozen=True)
class Degraded:
    """Answers with one degradation."""

    subject: str
    reason: str
    answers: int


@dataclass(frozen=True)
class Summary:
    """A whole replay. Answers are counted by departure and version, rates by second of the replay."""

    departures: int
    departures_whole: int
    first_as_of: str
    last_as_of: str
    slices: int
    replay_s: float
    answers: int
    answers_per_s: float
    rows_sent: int
    rows_written: int
    rows_per_s: float
    failures: dict[str, int]
    degraded_answers: int
    degraded: tuple[Degraded, ...]
    versions: tuple[VersionSummary, ...]
    triton: str
    chaos: ChaosSummary | None


def summarize(
    played: Played, ways: Mapping[str, Way], auc_whole: Mapping[str, float], triton: str, chaos: Chaos | None = None
) -> Summary:
    """Return the summary of a replay.

    `auc_whole` is each version's offline AUC of the whole window; `triton` says where it runs, or why it does not.
    """
    answers = played.answers
    total = sum(len(each.online) for each in answers.values())
    return Summary(
        departures=played.departures,
        departures_whole=played.departures_whole,
        first_as_of=_moment(played.first.as_of),
        last_as_of=_moment(played.last.as_of),
        slices=played.slices,
        replay_s=played.seconds,
        answers=total,
        answers_per_s=total / played.seconds,
        rows_sent=played.writes.sent,
        rows_written=played.writes.written,
        rows_per_s=played.writes.written / played.seconds,
        failures=dict(_sum([each.failures for each in answers.values()])),
        degraded_answers=sum(each.degraded_rows for each in answers.values()),
        degraded=tuple(
            Degraded(*what, number) for what, number in _sum([each.degraded for each in answers.values()]).most_common()
        ),
        versions=tuple(
            _summarize_version(each, auc_whole[version], str(ways[version])) for version, each in answers.items()
        ),
        triton=triton,
        chaos=summarize_chaos(chaos, answers) if chaos else None,
    )


def auc(late: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the ROC curve, equal scores counting half; None without both kinds of row."""
    positive = np.asarray(late, np.bool_)
    lates = int(positive.sum())
    if lates in {0, positive.size}:
        return None
    _, place, equal = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(equal) - (equal - 1) / 2)[place]
    return float((ranks[positive].sum() - lates * (lates + 1) / 2) / (lates * (positive.size - lates)))


def problems(summary: Summary) -> Sequence[str]:
    """Return what is not as it must be, each in a few words; empty if all checks hold."""
    found = [f"{number} failures: {message}" for message, number in summary.failures.items()]
    found += [
        f"{item.answers} answers read a value of {item.subject} from their future"
        for item in summary.degraded
        if item.reason == AHEAD
    ]
    if summary.rows_written != summary.rows_sent:
        found.append(f"{summary.rows_sent - summary.rows_written} of {summary.rows_sent} feature rows were not stored")
    found += [f"AUC of {each.version} online and offline differ" for each in summary.versions if not _agree(each)]
    found += [
        f"{each.differing} answers of {each.version} differ from the offline scores by more than {SCORE_TOLERANCE:g}"
        for each in summary.versions
        if each.differing > MAX_DIFFERING * each.answers
    ]
    return [*found, *(summary.chaos.problems() if summary.chaos else [])]


def _summarize_version(answers: Answers, auc_whole: float, asked: str) -> VersionSummary:
    difference = np.abs(np.asarray(answers.online) - np.asarray(answers.offline))
    p50, p99 = np.percentile(np.asarray(answers.latencies), [50, 99]) * 1e3 if answers.latencies else (0, 0)
    return VersionSummary(
        version=answers.version,
        asked=asked,
        calls=len(answers.latencies),
        answers=len(answers.online),
        auc_online=auc(answers.late, answers.online),
        auc_offline=auc(answers.late, answers.offline),
        max_score_difference=float(difference.max(initial=0)),
        differing=int((difference > SCORE_TOLERANCE).sum()),
        auc_offline_whole=auc_whole,
        p50_ms=float(p50),
        p99_ms=float(p99),
        batch_rows=float(np.mean(answers.batches)) if answers.batches else 0.0,
        runtimes=count(answers.computed),
    )


def _agree(version: VersionSummary) -> bool:
    if version.auc_online is None or version.auc_offline is None:
        # Nothing to rank: then the scores themselves must agree.
        return version.max_score_difference <= AUC_TOLERANCE
    return abs(version.auc_online - version.auc_offline) <= AUC_TOLERANCE


def _moment(as_of: int) -> str:
    return datetime.fromtimestamp(as_of / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def _sum(counters: Sequence[Counter[Key]]) -> Counter[Key]:
    return sum(counters, Counter[Key]())
