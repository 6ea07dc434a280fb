"""What the alternatives amount to: numbers for people and programs, and whether they are as they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deploy.demo.flight_delay.composition.definitions import CASCADE, ENSEMBLE
from deploy.demo.flight_delay.composition.offline import read_cascade, read_ensemble
from deploy.demo.flight_delay.composition.tally import Tally
from deploy.demo.flight_delay.online.summary import MAX_DIFFERING, SCORE_TOLERANCE, auc
from deploy.demo.flight_delay.replay import Recording


@dataclass(frozen=True)
class AlternativeSummary:
    """One alternative's answers beside what the offline scores of its models make.

    An AUC is None where no departure, or every one, was late. Of a cascade, `at_first` answers were given by its
    first stage and `sure` ones should have been; else None. `cpu_us` is the CPU time of a prediction by service, percentiles
    are of the latency of calls.
    """

    name: str
    version: str
    answers: int
    auc_online: float | None
    auc_offline: float | None
    auc_offline_whole: float | None
    differing: int
    max_score_difference: float
    at_first: int | None
    sure: int | None
    cpu_us: Mapping[str, float]
    p50_ms: float
    p99_ms: float

    @property
    def cpu_us_all(self) -> float:
        """CPU time of a prediction, of all services that it passes through."""
        return sum(self.cpu_us.values())


@dataclass(frozen=True)
class Trial:
    """All alternatives on the same departures, each asked about by so many callers at the same time."""

    departures: int
    callers: int
    seconds: float
    failures: dict[str, int]
    alternatives: tuple[AlternativeSummary, ...]


def summarize(tallies: Sequence[Tally], recording: Recording, departures: int, callers: int, seconds: float) -> Trial:
    """Return the summary of a trial on the recording."""
    late, scores = recording.offline()
    whole = {**scores, CASCADE: read_cascade().score(scores), ENSEMBLE: read_ensemble().score(scores)}
    return Trial(
        departures=departures,
        callers=callers,
        seconds=seconds,
        failures={
            f"{tally.alternative.name}: {text}": number
            for tally in tallies
            for text, number in tally.answers.failures.items()
        },
        alternatives=tuple(_summarize(tally, auc(late, whole[tally.alternative.version])) for tally in tallies),
    )


def problems(trial: Trial) -> Sequence[str]:
    """Return what is not as it must be, each in a few words; empty if all checks hold."""
    found = [f"{number} failures of the {text}" for text, number in trial.failures.items()]
    for each in trial.alternatives:
        if each.differing > MAX_DIFFERING * each.answers:
            found.append(f"{each.differing} answers of the {each.name} differ from what the offline scores make")
        if each.sure is not None and abs((each.at_first or 0) - each.sure) > MAX_DIFFERING * each.answers:
            found.append(
                f"{each.at_first} answers of the {each.name} come from its first stage, which was sure of {each.sure}"
            )
    return found


def _summarize(tally: Tally, auc_whole: float | None) -> AlternativeSummary:
    answers = tally.answers
    number = len(answers.online)
    difference = np.abs(np.asarray(answers.online) - np.asarray(answers.offline))
    p50, p99 = np.percentile(np.asarray(answers.latencies), [50, 99]) * 1e3 if answers.latencies else (0, 0)
    return AlternativeSummary(
        name=tally.alternative.name,
        version=answers.version,
        answers=number,
        auc_online=auc(answers.late, answers.online),
        auc_offline=auc(answers.late, answers.offline),
        auc_offline_whole=auc_whole,
        differing=int((difference > SCORE_TOLERANCE).sum()),
        max_score_difference=float(difference.max(initial=0)),
        at_first=tally.at_first if tally.cascade else None,
        sure=tally.sure if tally.cascade else None,
        cpu_us={name: used / 1e3 / max(1, number) for name, used in tally.cpu_ns.items()},
        p50_ms=float(p50),
        p99_ms=float(p99),
    )
