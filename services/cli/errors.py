"""How a command fails: one line on stderr, and an exit code that says whose fault it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from services.mesh.errors import FieldViolation, MeshError

REMEDIES = {
    "EXPIRED_CREDENTIALS": "--token-file names another key or token",
    "INVALID_CREDENTIALS": "--token-file names another key or token",
    "MISSING_CREDENTIALS": "--token-file or PREDICTMESH_TOKEN says who calls",
    "DEADLINE_EXCEEDED": "--timeout allows more",
    "GATE_FAILED": "`predictmesh release gates` shows them all; --force with --reason overrides",
    "IN_USE": "delete or change what names it first",
    "NO_RELEASE": "`predictmesh release status` lists releases",
    "OVERLOADED": "try again later",
    "RELEASE_ACTIVE": "`predictmesh release status` shows it",
    "REVISION_CONFLICT": "`predictmesh events` shows who changed what; then repeat with the present revision",
    "UNKNOWN_ALIAS": "`predictmesh models show` lists a model's aliases",
    "UNKNOWN_ARTIFACT": "`predictmesh models register` uploads it",
    "UNKNOWN_ENDPOINT": "`predictmesh endpoints` lists them",
    "UNKNOWN_MODEL": "`predictmesh models list` lists them, `predictmesh apply` makes one",
    "UNKNOWN_VERSION": "`predictmesh models show` lists a model's versions, `predictmesh models register` adds one",
    "UNKNOWN_VIEW": "`predictmesh features views` lists them",
    "VERSION_NOT_READY": "`predictmesh status` shows what is loaded; --allow-unready overrides",
}

# Fields that every command gives by the same option.
_OPTIONS = {"expected_revision": "--expected-revision", "reason": "--reason"}

_MISTAKES = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS", "OUT_OF_RANGE"}


class Failure(click.ClickException):
    """Something is wrong that the caller cannot mend by asking otherwise. Exit code 1."""

    exit_code = 1


class Mistake(Failure):
    """The caller asked for what cannot be: a wrong name, value or file. Exit code 2."""

    exit_code = 2


def one_line(error: click.ClickException) -> str:
    """Return the line that tells of `error`."""
    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        text = f"{text.removesuffix('.')} (see {error.ctx.command_path} --help)"
    return f"error: {text}"


def from_mesh_error(error: MeshError) -> Failure:
    """Return what a service answered as a failure: `<message> [REASON] (field path; remedy)`."""
    paths = [_place(violation, error.message) for violation in error.violations]
    remedy = REMEDIES.get(error.reason)
    hints = "; ".join(filter(None, [*paths, remedy]))
    text = f"{error.message} [{error.reason}]" + (f" ({hints})" if hints else "")
    return Mistake(text) if error.code.name in _MISTAKES else Failure(text)


def _place(violation: FieldViolation, message: str) -> str:
    """Return what `message` does not say yet of where the fault is, and why."""
    said = any(part.startswith(f"{violation.field}:") for part in message.split("; "))
    path = "" if said else _OPTIONS.get(violation.field, violation.field)
    # A long description arrives cut.
    description = "" if violation.description.removesuffix("...") in message else violation.description
    what, colon, remedy = description.rpartition(": ")
    if colon and what in message:
        description = remedy
    return ": ".join(filter(None, (path, description)))
