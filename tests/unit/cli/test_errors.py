"""A failure is one line that says what, why, where and what to do; the exit code says whose fault it is."""

from __future__ import annotations

import click
import pytest

from services.cli.errors import Failure, Mistake, from_mesh_error, one_line
from services.mesh.errors import Code, FieldViolation, Reason, RemoteError


@pytest.mark.parametrize("code", list(Code)[1:])
def test_exit_codes(code: Code) -> None:
    """Exit code 2 for what the caller can mend by asking otherwise, 1 for all the rest."""
    mistakes = {
        Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.ALREADY_EXISTS, Code.OUT_OF_RANGE,
    }  # fmt: skip
    assert (2 if code in mistakes else 1) == from_mesh_error(RemoteError(code, Reason.INTERNAL, "x")).exit_code


def test_message_reason_path_and_remedy() -> None:
    """All that is known stands on one line."""
    error = RemoteError(Code.NOT_FOUND, Reason.UNKNOWN_ENDPOINT, "no endpoint 'x'", field="endpoint")
    expected = "error: no endpoint 'x' [UNKNOWN_ENDPOINT] (endpoint; `predictmesh endpoints` lists them)"
    assert expected == one_line(from_mesh_error(error))


def test_what_the_message_says_is_not_said_again() -> None:
    """Paths and descriptions that stand in the message are left out; others are all named."""
    violations = [
        FieldViolation("a", "must be b"),
        FieldViolation("c.d", "is wrong"),
        FieldViolation("e", "a long tale..."),
    ]
    error = RemoteError(
        Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT, "a: must be b, a long tale of it", violations=violations
    )
    assert "error: a: must be b, a long tale of it [INVALID_ARGUMENT] (c.d: is wrong; e)" == one_line(
        from_mesh_error(error)
    )


def test_remedy_of_what_the_message_says() -> None:
    """Where the message has said what is wrong, only what to do about it is added."""
    error = RemoteError(
        Code.FAILED_PRECONDITION,
        Reason.IN_USE,
        "x may not answer: metric/auc: 0.6: below 0.7",
        violations=[FieldViolation("metric/auc", "0.6: below 0.7: register a better version")],
    )
    assert (
        "error: x may not answer: metric/auc: 0.6: below 0.7 [IN_USE] "
        "(metric/auc: register a better version; delete or change what names it first)"
    ) == one_line(from_mesh_error(error))


def test_places_that_the_message_gives_are_not_given_again() -> None:
    """Several faults stand in one message, each behind its place."""
    violations = [FieldViolation("a.yaml, b", "is wrong"), FieldViolation("a.yaml, c", "is so, too")]
    error = RemoteError(
        Code.INVALID_ARGUMENT,
        Reason.INVALID_ARGUMENT,
        "a.yaml, b: is wrong; a.yaml, c: is so, too",
        violations=violations,
    )
    assert "error: a.yaml, b: is wrong; a.yaml, c: is so, too [INVALID_ARGUMENT]" == one_line(from_mesh_error(error))


@pytest.mark.parametrize("kind", [Failure, Mistake])
def test_one_line_stays_one(kind: type[Failure]) -> None:
    """Whatever text a cause brings along, the report has no second line."""
    assert "error: first second" == one_line(kind("first\n  second"))


def test_usage_points_to_the_help() -> None:
    """A wrong option says where the right ones are described, without the usage that click would print."""
    context = click.Context(click.Command("predict"), info_name="predictmesh predict")
    assert "error: bad (see predictmesh predict --help)" == one_line(click.UsageError("bad.", context))
