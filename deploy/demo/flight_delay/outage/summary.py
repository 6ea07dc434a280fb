"""What the outage amounts to: numbers for people and programs, and whether they are as they must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.demo.flight_delay.outage.log import ANSWER, LAST_ANSWER, ROUTE, Log, Step
from predictmesh.gateway.v1.provenance_pb2 import LadderStepKind
from services.cli.labels import words


@dataclass(frozen=True)
class StepSummary:
    """A step of the ladder: the answers it gave, and those that it left to the next by reason.

    `p50_ms` is the time that it took where the route's version did not answer.
    """

    step: str
    version: str
    answered: int
    left: dict[str, int]
    p50_ms: float


@dataclass(frozen=True)
class Outage:
    """From the kill until the route's version answered everything again, `back_s` later.

    `messages` has for each reason why a step was left what people are told, the first time. `silent` answers came from the ladder and do not say so, `changed` last answers are not what the route's version had
    said. `oldest_ms` is the greatest age of a last answer. Percentiles are of the latency of answers from the ladder.
    """

    back_s: float
    steps: tuple[StepSummary, ...]
    messages: dict[str, str]
    last_answers: int
    oldest_ms: int
    changed: int
    static_answers: int
    silent: int
    p50_ms: float
    p99_ms: float
    failures: dict[str, int]


def summarize(before: Log, during: Log, back_s: float) -> Outage:
    """Return the summary of an outage, from what was told before and during it."""
    said = before.scores | during.scores
    p50, p99 = np.percentile(during.latencies_s, [50, 99]) * 1e3 if during.latencies_s else (0, 0)
    return Outage(
        back_s=back_s,
        steps=tuple(_summarize(during, step) for step in sorted({*during.answered, *during.left})),
        messages=dict(during.messages),
        last_answers=len(during.repeated),
        oldest_ms=during.oldest_ms,
        changed=sum(said.get(key) != score for key, score in during.repeated),
        static_answers=len(during.fixed),
        silent=during.silent,
        p50_ms=float(p50),
        p99_ms=float(p99),
        failures=dict(before.failures + during.failures),
    )


def problems(outage: Outage) -> Sequence[str]:
    """Return what is not as it must be, each in a few words; empty if all checks hold."""
    checks = {
        "no last answer was given while the model process was away": outage.last_answers > 0,
        "the static answer was not given while the model process was away": outage.static_answers > 0,
        f"{outage.changed} last answers are not what the route's version had said": not outage.changed,
        f"{outage.silent} answers came from the ladder and do not say so": not outage.silent,
    }
    failures = [f"{number} failures without a model process: {text}" for text, number in outage.failures.items()]
    return [*failures, *(problem for problem, holds in checks.items() if not holds)]


def _summarize(log: Log, step: Step) -> StepSummary:
    kind, version = step
    p50_us = float(np.median(log.took_us[step])) if log.took_us[step] else 0.0
    return StepSummary(_name(kind), version, log.answered[step], dict(log.left[step]), p50_us / 1e3)


def _name(kind: LadderStepKind.ValueType) -> str:
    named = {ROUTE: "route", LAST_ANSWER: "last answer", ANSWER: "static answer"}
    return named.get(kind) or words(LadderStepKind.Name, "LADDER_STEP_KIND_", kind)
