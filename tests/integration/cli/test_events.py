"""The registry's log on the command line."""

from __future__ import annotations

import json
import subprocess

from tests.integration.cli.conftest import DEFINITIONS, World
from tests.support.commands import succeed
from tests.worlds.up import command


def events(world: World, *arguments: object) -> list[dict[str, str]]:
    """What `events` prints as JSON."""
    found: list[dict[str, str]] = json.loads(succeed("events", *arguments, "--json", *world.at))
    return found


def test_end_of_the_log(world: World) -> None:
    """The whole log or its end, the newest event last; those of an endpoint leave the others out."""
    revisions = [int(event["revision"]) for event in events(world, "--limit", 1_000)]
    assert list(range(1, revisions[-1] + 1)) == revisions
    assert revisions[-2:] == [int(event["revision"]) for event in events(world, "--limit", 2)]
    assert "delay 1.0.0 registered, for onnx" in succeed("events", "--limit", 1_000, *world.at)
    assert "endpoint delay (version 1.0.0) applied" in [event["text"] for event in events(world, "delay")]
    assert succeed("events", "nobody", *world.at).startswith("(no events of nobody;")
    assert [] == events(world, "nobody")


def test_following(world: World) -> None:
    """An event is told as soon as it is written."""
    arguments = ["events", "--follow", "--limit", "1", "--json", *world.at]
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = int(json.loads(process.stdout.readline())["revision"])
        succeed(
            "apply",
            "-f",
            world.file("more.yaml", f"{DEFINITIONS}description: Followed.\n"),
            "--reason",
            "news",
            *world.at,
        )
        event = json.loads(process.stdout.readline())
        process.terminate()
    assert (first + 1, "news") == (int(event["revision"]), event["reason"])
    assert "model delay applied" in event["text"]
