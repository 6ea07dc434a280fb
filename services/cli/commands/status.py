"""`predictmesh status`: every service at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from services.cli import durations
from services.cli.errors import Failure
from services.cli.fetch import fetch_json
from services.cli.options import Assignment, data_option, json_option, timeout_option
from services.cli.output import print_json, print_table
from services.cli.targets import SERVICES, Target, find_http

Report = Mapping[str, Any]


@click.command()
@click.option(
    "--http",
    "given",
    type=Assignment(),
    multiple=True,
    metavar="SERVICE=HOST:PORT",
    help="HTTP address of a service. Repeat for more.",
)
@timeout_option("3s")
@json_option
@data_option
def command(given: Sequence[tuple[str, str]], timeout_s: float, as_json: bool, data: Path) -> None:
    """Show every service, the versions loaded and what is broken.

    Exit code 1 if one is not ready.
    """
    addresses = dict(given)
    unknown = [name for name in addresses if name not in SERVICES]
    if unknown:
        raise click.BadParameter(
            f"no service {', '.join(unknown)}: there are {', '.join(SERVICES)}", param_hint="--http"
        )
    targets = [find_http(service, addresses.get(service), data) for service in SERVICES]
    with ThreadPoolExecutor(len(targets)) as pool:
        reports = list(pool.map(lambda target: _ask(target, timeout_s), targets))
    if as_json:
        print_json({target.service: dict(report) for target, report in zip(targets, reports, strict=True)})
    else:
        _print(targets, reports)
    failed = [target.service for target, report in zip(targets, reports, strict=True) if not report["ready"]]
    if failed:
        raise Failure(f"not ready: {', '.join(failed)}")


def _ask(target: Target, timeout_s: float) -> Report:
    try:
        _, answer = fetch_json(target.address, "/statusz", timeout_s)
    except OSError as error:
        return {"ready": False, "reason": f"cannot reach {target.address} ({target.source}): {error}"}
    # The monolith answers for all services at once.
    own = answer.pop("services", {}).get(target.service, {})
    return {**answer, **own, "address": target.address}


def _print(targets: Sequence[Target], reports: Sequence[Report]) -> None:
    print_table(
        ["service", "ready", "up for", "revision", "http", "detail"],
        [_row(target.service, report) for target, report in zip(targets, reports, strict=True)],
    )
    versions = [version for report in reports for version in report.get("versions", ())]
    if versions:
        click.echo()
        print_table(
            ["version", "runtime", "state", "message"],
            [[version.get(name) for name in ("version", "runtime", "state", "message")] for version in versions],
        )


def _row(service: str, report: Report) -> list[object]:
    uptime = durations.rounded(report["uptime_s"] * 1e6) if "uptime_s" in report else ""
    return [service, report["ready"], uptime, report.get("snapshot_revision"), report.get("address"), _detail(report)]


_SHOWN = {"name", "pid", "ready", "reason", "uptime_s", "snapshot_revision", "address", "versions"}


def _detail(report: Report) -> str:
    """Return why it is not ready, then whatever else the service tells."""
    told = [f"{name.replace('_', ' ')} {_text(value)}" for name, value in report.items() if name not in _SHOWN]
    return "; ".join([*([report["reason"]] if report.get("reason") else []), *told])


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
