"""What a replay amounts to: numbers for people and programs, and whether they are as they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike

from deploy.demo.flight_delay.online.player import Played, Scores
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason
from services.cli.labels import words

AUC_TOLERANCE = 0.002
AHEAD = words(DegradationReason.Name, "DEGRADATION_REASON_", DegradationReason.DEGRADATION_REASON_FEATURE_AHEAD)


@dataclass(frozen=True)
class Whole:
    """The whole test window offline: its departures, and each version's AUC."""

    departures: int
    auc: Mapping[str, float]


@dataclass(frozen=True)
class VersionSummary:
    """One version's answers beside its offline scores of the same departures, and its offline AUC of all of them.

    An AUC is None where no departure, or every one, was late.
    """

    version: str
    pinned: bool
    answers: int
    auc_online: float | None
    auc_offline: float | None
    max_score_difference: float
    auc_offline_whole: float


@dataclass(frozen=True)
class Degraded:
    """Answers with one degradation."""

    reason: str
    subject: str
    answers: int


@dataclass(frozen=True)
class Summary:
    """A whole replay. Times in seconds and milliseconds as named; rates are per second of the replay, writes included."""

    departures: int
    departures_whole: int
    first_as_of: str
    last_as_of: str
    slices: int
    replay_s: float
    predictions: int
    predictions_per_s: float
    p50_ms: float
    p99_ms: float
    rows_sent: int
    rows_written: int
    rows_per_s: float
    failures: dict[str, int]
    degraded_answers: int
    degraded: tuple[Degraded, ...]
    versions: tuple[VersionSummary, ...]


def summarize(played: Played, pins: Mapping[str, str], whole: Whole) -> Summary:
    """Return the summary of a replay of at least one departure."""
    p50, p99 = _percentiles_ms(played)
    predictions = len(played.latencies)
    return Summary(
        departures=len(played.departures),
        departures_whole=whole.departures,
        first_as_of=_moment(played.departures[0]),
        last_as_of=_moment(played.departures[-1]),
        slices=played.slices,
        replay_s=played.seconds,
        predictions=predictions,
        predictions_per_s=predictions / played.seconds,
        p50_ms=p50,
        p99_ms=p99,
        rows_sent=played.writes.sent,
        rows_written=played.writes.written,
        rows_per_s=played.writes.written / played.seconds,
        failures=dict(played.failures),
        degraded_answers=played.degraded_answers,
        degraded=tuple(Degraded(*what, count) for what, count in played.degraded.most_common()),
        versions=tuple(
            _summarize_version(version, scores, whole.auc[version], pinned=bool(pins[version]))
            for version, scores in played.scores.items()
        ),
    )


def _moment(departure: Departure) -> str:
    return datetime.fromtimestamp(departure.as_of / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def _summarize_version(version: str, scores: Scores, whole: float, *, pinned: bool) -> VersionSummary:
    online, offline = np.asarray(scores.online), np.asarray(scores.offline)
    return VersionSummary(
        version=version,
        pinned=pinned,
        answers=len(online),
        auc_online=auc(scores.late, online),
        auc_offline=auc(scores.late, offline),
        max_score_difference=float(np.abs(online - offline).max(initial=0)),
        auc_offline_whole=whole,
    )


def auc(late: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the ROC curve, equal scores counting half; None without both kinds of row."""
    positive = np.asarray(late, np.bool_)
    count = int(positive.sum())
    if count in {0, positive.size}:
        return None
    _, place, equal = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(equal) - (equal - 1) / 2)[place]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (positive.size - count)))


def _percentiles_ms(played: Played) -> tuple[float, float]:
    if not played.latencies:
        return 0.0, 0.0
    p50, p99 = np.percentile(np.asarray(played.latencies), [50, 99]) * 1e3
    return float(p50), float(p99)


def problems(summary: Summary) -> Sequence[str]:
    """Return what is not as it must be, each in a few words; empty if all checks hold."""
    found = [f"{count} failures: {message}" for message, count in summary.failures.items()]
    found += [
        f"{item.answers} answers read a value of {item.subject} from their future"
        for item in summary.degraded
        if item.reason == AHEAD
    ]
    if summary.rows_written != summary.rows_sent:
        found.append(f"{summary.rows_sent - summary.rows_written} of {summary.rows_sent} feature rows were not stored")
    found += [f"AUC of {each.version} online and offline differ" for each in summary.versions if not _agree(each)]
    return found


def _agree(version: VersionSummary) -> bool:
    if version.auc_online is None or version.auc_offline is None:
        # Nothing to rank: then the scores themselves must agree.
        return version.max_score_difference <= AUC_TOLERANCE
    return abs(version.auc_online - version.auc_offline) <= AUC_TOLERANCE
