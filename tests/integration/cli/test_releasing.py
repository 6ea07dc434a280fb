"""Releases from the command line: weights, the way of a canary, what operators may do, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.integration.cli.canary import CANARY, NAME, ask, callers, gateway
from tests.integration.cli.conftest import World
from tests.support.commands import run, succeed
from tests.support.waiting import until

# Quick steps; a latency guard on a busy machine would be a guess.
QUICK = ("--steps", "50,100", "--min-requests", 20, "--min-duration", "100ms", "--max-error-increase", 0.5)


@pytest.fixture
def canary(world: World) -> Iterator[World]:
    """An endpoint that 1.0.0 answers, for the time of a test."""
    succeed("apply", "-f", world.file("canary.yaml", CANARY), *world.at)
    yield world
    run("release", "rollback", NAME, *world.at)
    succeed("endpoints", "delete", NAME, "--yes", *world.at)


def revision(world: World) -> int:
    """The registry's revision."""
    return int(json.loads(succeed("events", "--limit", 1, "--json", *world.at))[0]["revision"])


def told(world: World, count: int) -> list[str]:
    """The last events of the endpoint in words."""
    return [event["text"] for event in json.loads(succeed("events", NAME, "--limit", count, "--json", *world.at))]


def test_canary_wins(canary: World) -> None:
    """A candidate that is as good as the version before answers everything in the end, and every step is in the log."""
    with callers(canary):
        said = succeed("release", "start", NAME, "2.0.0", *QUICK, "--reason", "a test", "--wait", *canary.at)
    assert ["running,", "promoted,"] == [line.split()[2] for line in said.splitlines() if "2.0.0 " in line[:40]]
    with gateway(canary) as stub:
        assert "2.0.0" == until(lambda: ask(stub, 1), lambda version: version == "2.0.0")
    assert [
        f"release of {NAME}: 2.0.0 in place of 1.0.0 at 50 %",
        f"release of {NAME}: 2.0.0 promoted, in place of 1.0.0",
    ] == told(canary, 2)
    shown = succeed("release", "status", NAME, *canary.at)
    assert "50 %   1.0.0" in shown
    assert "error_rate 0 %" in shown
    assert NAME in succeed("release", "status", *canary.at)
    assert "route: {version: 2.0.0}" in succeed("endpoints", NAME, "--yaml", *canary.at)


def test_what_operators_may_do(canary: World) -> None:
    """A release is held, goes on, is taken back and cannot be taken back twice; each act is in the log with its reason."""
    started = succeed("release", "start", NAME, "2.0.0", "--steps", "5,100", *canary.at)
    assert f"release of {NAME} started: 2.0.0 in place of 1.0.0" in started
    assert "is held at step 1 of 2: 5 %" in succeed("release", "hold", NAME, "--reason", "a look", *canary.at)
    watched = run("release", "status", NAME, "--watch", *canary.at)
    assert (1, True) == (watched.code, f"the release of {NAME} is held: a look" in watched.err)
    assert "goes on at step 1 of 2: 5 %" in succeed("release", "resume", NAME, *canary.at)
    assert "is rolled back: 1.0.0 answers" in succeed("release", "rollback", NAME, "--reason", "enough", *canary.at)
    again = run("release", "rollback", NAME, *canary.at)
    assert (2, True) == (again.code, "[NO_RELEASE] (ENDPOINT; `predictmesh release status`" in again.err)
    head = f"release of {NAME}: 2.0.0"
    assert [
        f"{head} in place of 1.0.0 at 5 %",
        f"{head} held at 5 %",
        f"{head} goes on at 5 %",
        f"{head} rolled back, 1.0.0 answers",
    ] == told(canary, 4)
    assert "       enough\n" in succeed("events", NAME, "--limit", 1, *canary.at)


def test_promotion_at_once_and_back(canary: World) -> None:
    """Without a release a version can take all at once, and the version before can come back."""
    succeed("release", "promote", NAME, "2.0.0", *canary.at)
    assert "model        delay 2.0.0" in until(
        lambda: succeed("endpoints", NAME, *canary.at), lambda text: "2.0.0" in text
    )
    assert "1.0.0 answers" in succeed("release", "rollback", NAME, *canary.at)


@pytest.mark.parametrize(
    ("arguments", "reason", "text"),
    [
        (("start", NAME, "9.0.0"), "UNKNOWN_VERSION", "(VERSION; "),
        (("start", "nobody", "2.0.0"), "UNKNOWN_ENDPOINT", "(ENDPOINT; "),
        (("start", NAME, "1.0.0"), "INVALID_DEFINITION", "answers delay-canary already"),
        (("start", NAME, "2.0.0", "--steps", "50,5,100"), "INVALID_DEFINITION", "error: --steps: "),
        (("start", NAME, "2.0.0", "--quality", "auc:0.1"), "INVALID_DEFINITION", "error: --quality: "),
        (("start", NAME, "2.0.0", "--force"), "MISSING_FIELD", "(--reason)"),
        (("hold", NAME), "NO_RELEASE", "no release under way"),
        (("resume", NAME), "NO_RELEASE", "no release under way"),
        (("promote", NAME), "MISSING_FIELD", "(VERSION)"),
        (("status", NAME), "NO_RELEASE", "has had no release"),
        (("gates", "delay", "9.0.0"), "UNKNOWN_VERSION", "`predictmesh models show`"),
    ],
)
def test_refused(canary: World, arguments: tuple[str, ...], reason: str, text: str) -> None:
    """What cannot be is told in one line with its reason and what was typed; nothing has changed."""
    before = revision(canary)
    outcome = run("release", *arguments, *canary.at)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert f"[{reason}]" in outcome.err
    assert text in outcome.err
    assert before == revision(canary)


def test_plan_file(canary: World) -> None:
    """A fault in a plan is told by its place in the file; a dry run shows the plan with every default, and starts nothing."""
    bad = canary.file("plan.yaml", "guards: {quality: {metric: auc, max_worsening: 0.1}}")
    outcome = run("release", "start", NAME, "2.0.0", "-f", bad, *canary.at)
    assert (2, True) == (outcome.code, f"{bad}, guards.quality.metric: " in outcome.err)
    good = canary.file("plan.yaml", "guards: {quality: {metric: mae, max_worsening: 0.1}}\nmin_duration: 2m")
    shown = succeed("release", "start", NAME, "2.0.0", "-f", good, "--steps", "10,100", "--dry-run", *canary.at)
    assert "10, 100 %; each 500 requests and 2m at least, held after 1d" in shown
    assert "mae at most 0.1 worse, by 100 outcomes a step" in shown
    assert 2 == run("release", "status", NAME, *canary.at).code


def test_lost_race(canary: World) -> None:
    """Who acts on an old revision changes nothing, and is told the present one."""
    before = revision(canary)
    succeed("release", "start", NAME, "2.0.0", "--expected-revision", before, *canary.at)
    outcome = run("release", "rollback", NAME, "--expected-revision", before, *canary.at)
    assert (1, True) == (outcome.code, f"is at revision {before + 1}, not {before}" in outcome.err)
    assert "(--expected-revision; `predictmesh events`" in outcome.err
    assert before + 1 == revision(canary)


def test_gates(world: World) -> None:
    """A version that is served has passed its gates."""
    assert "READY" in succeed("release", "gates", "delay", "1.0.0", *world.at)
    assert all(
        gate["passed"] for gate in json.loads(succeed("release", "gates", "delay", "1.0.0", "--json", *world.at))
    )


def test_weights(canary: World) -> None:
    """Weights part the callers by their key, are shown as they were written, and must make 100."""
    text = CANARY.replace("{version: 1.0.0}", "{weights: {1.0.0: 70, 2.0.0: 30}}")
    succeed("apply", "-f", canary.file("weights.yaml", text), *canary.at)
    assert yaml.safe_load(text) == yaml.safe_load(succeed("endpoints", NAME, "--yaml", *canary.at))
    until(
        lambda: succeed("endpoints", NAME, *canary.at),
        lambda shown: "1.0.0 70 % (endpoint weight), 2.0.0 30 %" in shown,
    )
    with gateway(canary) as stub:
        assert [ask(stub, number) for number in range(20)] == [ask(stub, number) for number in range(20)]
        assert {"1.0.0", "2.0.0"} == {ask(stub, number) for number in range(20)}
    bad = canary.file("bad.yaml", text.replace("30", "20"))
    outcome = run("apply", "-f", bad, *canary.at)
    assert (2, True) == (outcome.code, f"{bad}, document 1, route.weights: " in outcome.err)
    unknown = canary.file("unknown.yaml", text.replace("2.0.0", "9.0.0"))
    outcome = run("apply", "-f", unknown, *canary.at)
    assert (2, True) == (outcome.code, f"{unknown}, document 1, route.weights.9.0.0: " in outcome.err)


def test_shadow(canary: World) -> None:
    """Answers of a shadow, which doubles, are compared with those that callers got."""
    assert "nothing was compared" in succeed("shadow", "report", NAME, *canary.at)
    shadow = "shadow: {version: 2.0.0, percent: 100, relative_tolerance: 0.1}\n"
    succeed("apply", "-f", canary.file("shadow.yaml", CANARY + shadow), *canary.at)
    with callers(canary):
        shown = until(lambda: succeed("shadow", "report", NAME, *canary.at), lambda text: "2.0.0 beside 1.0.0" in text)
    assert "in tolerance  0 %" in shown
    assert f"predictmesh explain {NAME} --version 2.0.0 --entity tail=N" in shown
    outcome = run("apply", "-f", canary.file("self.yaml", CANARY + shadow.replace("2.0.0", "1.0.0")), *canary.at)
    assert (2, True) == (outcome.code, "document 1, shadow.version: 1.0.0 answers already" in outcome.err)


def test_deletion(world: World) -> None:
    """An endpoint that is gone is unknown; one that is being released stays, and so does a view that a version reads."""
    succeed("apply", "-f", world.file("canary.yaml", CANARY), *world.at)
    succeed("release", "start", NAME, "2.0.0", *world.at)
    outcome = run("endpoints", "delete", NAME, "--yes", *world.at)
    assert (2, True) == (outcome.code, "[RELEASE_ACTIVE]" in outcome.err)
    succeed("release", "rollback", NAME, *world.at)
    assert f"deleted endpoint {NAME}; revision " in succeed("endpoints", "delete", NAME, "--yes", *world.at)
    assert (2, True) == (
        run("endpoints", "delete", NAME, "--yes", *world.at).code,
        NAME not in succeed("endpoints", *world.at),
    )
    outcome = run("features", "delete-view", "plane", "--yes", *world.at)
    assert (2, True) == (outcome.code, "[IN_USE]" in outcome.err)
