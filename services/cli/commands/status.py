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
from services.cli.targets import SERVICES, Replica, find_http

Report = Mapping[str, Any]


@click.command()
@click.option(
    "--http",
    "given",
    type=Assignment(),
    multiple=True,
    metavar="SERVICE=HOST:PORT",
    help="HTTP address of a service. Repeat for more, and for each of its replicas.",
)
@timeout_option("3s")
@json_option
@data_option
def command(given: Sequence[tuple[str, str]], timeout_s: float, as_json: bool, data: Path) -> None:
    """Show every service, all replicas of it, the versions loaded and what is broken.

    Exit code 1 if one is not ready.
    """
    replicas = _replicas(given, data)
    with ThreadPoolExecutor(len(replicas)) as pool:
        answers = pool.map(lambda replica: _ask(replica, timeout_s), replicas)
        reports = dict(zip((replica.name for replica in replicas), answers, strict=True))
    if as_json:
        print_json(reports)
    else:
        _print(reports)
    failed = [name for name, report in reports.items() if not report["ready"]]
    if failed:
        raise Failure(f"not ready: {', '.join(failed)}")


def _replicas(given: Sequence[tuple[str, str]], data: Path) -> Sequence[Replica]:
    addresses: dict[str, dict[str, None]] = {}
    for service, address in given:
        addresses.setdefault(service, {})[address] = None
    unknown = [name for name in addresses if name not in SERVICES]
    if unknown:
        raise click.BadParameter(
            f"no service {', '.join(unknown)}: there are {', '.join(SERVICES)}", param_hint="--http"
        )
    targets = [find_http(service, ",".join(addresses.get(service, ())), data) for service in SERVICES]
    return [replica for target in targets for replica in target.replicas]


def _ask(replica: Replica, timeout_s: float) -> Report:
    try:
        _, answer = fetch_json(replica.address, "/statusz", timeout_s)
    except OSError as error:
        return {"ready": False, "reason": f"cannot reach {replica.address} ({replica.source}): {error}"}
    # The monolith answers for all services at once.
    own = answer.pop("services", {}).get(replica.name, {})
    return {**answer, **own, "address": replica.address}


def _print(reports: Mapping[str, Report]) -> None:
    print_table(
        ["service", "ready", "up for", "revision", "http", "detail"],
        [_row(name, report) for name, report in reports.items()],
    )
    versions = [_version(name, version) for name, report in reports.items() for version in report.get("versions", ())]
    if versions:
        click.echo()
        print_table(["version", "on", "runtime", "state", "message"], versions)


def _version(name: str, version: Report) -> list[object]:
    return [version.get("version"), name, *(version.get(column) for column in ("runtime", "state", "message"))]


def _row(name: str, report: Report) -> list[object]:
    uptime = durations.rounded(report["uptime_s"] * 1e6) if "uptime_s" in report else ""
    return [name, report["ready"], uptime, report.get("snapshot_revision"), report.get("address"), _detail(report)]


_SHOWN = {"name", "pid", "ready", "reason", "uptime_s", "snapshot_revision", "address", "versions", "breakers"}


def _detail(report: Report) -> str:
    """Return why it is not ready, then whatever else the service tells."""
    told = [f"{name.replace('_', ' ')} {_text(value)}" for name, value in report.items() if name not in _SHOWN]
    if "breakers" in report:
        told.append(f"breakers {_breakers(report['breakers'])}")
    return "; ".join([*([report["reason"]] if report.get("reason") else []), *told])


def _breakers(states: Mapping[str, Mapping[str, str]]) -> str:
    """Return the state of the circuit breakers, by hop and replica, that are not closed."""
    told = [
        f"{state} for {hop} at {replica}"
        for hop, replicas in states.items()
        for replica, state in replicas.items()
        if state != "closed"
    ]
    return ", ".join(told) or "closed"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
