"""`predictmesh release`: put a version before callers step by step, and take it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from predictmesh.registry.v1.registry_service_pb2 import GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_pb2 import Release
from predictmesh.registry.v1.release_service_pb2 import (
    CheckGatesRequest,
    GetReleaseRequest,
    HoldReleaseRequest,
    HoldReleaseResponse,
    PromoteRequest,
    PromoteResponse,
    ResumeReleaseRequest,
    ResumeReleaseResponse,
    RollbackRequest,
    RollbackResponse,
    StartReleaseRequest,
    StartReleaseResponse,
)
from services.cli.audit import actor, expected_revision_option, force_option, reason_option
from services.cli.client import connect
from services.cli.errors import Failure
from services.cli.options import Command, Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json, print_pairs, print_table
from services.cli.releases.calls import release_service
from services.cli.releases.following import check_promoted, follow
from services.cli.releases.plans import PlanOptions, planned
from services.cli.releases.report import plan_pairs, print_release, print_releases, step_of
from services.cli.releases.screens import screen


@click.group()
def command() -> None:
    """Put a version before callers step by step, and take it back."""


def _operates(command: Command) -> Command:
    """Add the options of every command that changes a release."""
    for option in (connects("registry"), json_option, timeout_option(), reason_option, expected_revision_option):
        command = option(command)
    return command


@command.command("start")
@click.argument("endpoint")
@click.argument("version")
@planned
@force_option("Start in spite of gates that the version fails")
@click.option("--dry-run", is_flag=True, help="Check and show the release without starting it.")
@click.option("--wait", is_flag=True, help="Follow it as `release status --watch` does.")
@_operates
def start(
    endpoint: str,
    version: str,
    plan: PlanOptions,
    wait: bool,
    timeout_s: float,
    as_json: bool,
    services: Services,
    **options: Any,
) -> None:
    """Let VERSION replace what answers ENDPOINT, step by step.

    VERSION may be an alias. The registry's controller goes from step to step, and takes VERSION back when a guard finds it
    worse. Errors and latency are always guarded; quality is with --quality, or by the plan of a file.
    """
    request = StartReleaseRequest(endpoint=endpoint, candidate=version, plan=plan.plan(), actor=actor(), **options)
    try:
        with release_service(services) as releases:
            response = releases.StartRelease(request, timeout=timeout_s)
    except Failure as failure:
        raise type(failure)(plan.named(failure.message)) from failure
    if wait and not request.dry_run:
        _follow(endpoint, timeout_s, as_json, services)
    elif as_json:
        print_json(plain(response))
    else:
        _print_started(response, dry_run=request.dry_run)


def _print_started(response: StartReleaseResponse, *, dry_run: bool) -> None:
    release = response.release
    what = "can be started" if dry_run else "started"
    click.echo(
        f"release of {release.endpoint} {what}: {release.candidate} in place of {release.stable}; "
        f"revision {response.revision}"
    )
    print_pairs(plan_pairs(release.plan) | {"forced": ", ".join(release.forced_gates)})


@command.command("status")
@click.argument("endpoint", required=False)
@click.option("--watch", is_flag=True, help="Follow it; exit code 0 when it is promoted, 1 when held or rolled back.")
@timeout_option(note=" With --watch also how long to wait for a registry that goes away.")
@json_option
@connects("registry")
def status(endpoint: str | None, watch: bool, timeout_s: float, as_json: bool, services: Services) -> None:
    """List the last releases, or show that of ENDPOINT.

    Each endpoint has one: with its plan, the evidence of each step, and what the guards make of it.
    """
    if endpoint is None:
        if watch:
            raise click.UsageError("--watch needs an ENDPOINT")
        _list(timeout_s, as_json, services)
    elif watch:
        _follow(endpoint, timeout_s, as_json, services)
    else:
        with release_service(services) as releases:
            response = releases.GetRelease(GetReleaseRequest(endpoint=endpoint), timeout=timeout_s)
        if as_json:
            print_json(plain(response))
        else:
            print_release(response)


def _list(timeout_s: float, as_json: bool, services: Services) -> None:
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        releases = registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot.releases
    if as_json:
        print_json([plain(release) for release in releases])
    else:
        print_releases(releases)


def _follow(endpoint: str, timeout_s: float, as_json: bool, services: Services) -> None:
    with release_service(services) as releases:
        response = follow(releases, endpoint, screen(as_json=as_json), timeout_s)
    check_promoted(response)


@command.command("hold")
@click.argument("endpoint")
@_operates
def hold(endpoint: str, timeout_s: float, as_json: bool, services: Services, **options: Any) -> None:
    """Keep the release of ENDPOINT at its step.

    Guards still take it back.
    """
    request = HoldReleaseRequest(endpoint=endpoint, actor=actor(), **options)
    with release_service(services) as releases:
        response = releases.HoldRelease(request, timeout=timeout_s)
    _print_changed(response, as_json, lambda release: f"is held at {step_of(release)}")


@command.command("resume")
@click.argument("endpoint")
@_operates
def resume(endpoint: str, timeout_s: float, as_json: bool, services: Services, **options: Any) -> None:
    """Let the held release of ENDPOINT go on.

    The time of its step begins anew; its evidence stays.
    """
    request = ResumeReleaseRequest(endpoint=endpoint, actor=actor(), **options)
    with release_service(services) as releases:
        response = releases.ResumeRelease(request, timeout=timeout_s)
    _print_changed(response, as_json, lambda release: f"goes on at {step_of(release)}")


@command.command("promote")
@click.argument("endpoint")
@click.argument("version", required=False, default="")
@force_option("Promote in spite of gates that the version fails")
@_operates
def promote(endpoint: str, version: str, timeout_s: float, as_json: bool, services: Services, **options: Any) -> None:
    """Let VERSION answer ENDPOINT alone, at once.

    Without VERSION it is the candidate of the release under way.
    """
    request = PromoteRequest(endpoint=endpoint, version=version, actor=actor(), **options)
    with release_service(services) as releases:
        response = releases.Promote(request, timeout=timeout_s)
    _print_changed(response, as_json, lambda release: f"has ended: {release.candidate} answers")


@command.command("rollback")
@click.argument("endpoint")
@_operates
def rollback(endpoint: str, timeout_s: float, as_json: bool, services: Services, **options: Any) -> None:
    """Let the version before answer ENDPOINT again.

    That is the stable version of its last release, under way or promoted.
    """
    request = RollbackRequest(endpoint=endpoint, actor=actor(), **options)
    with release_service(services) as releases:
        response = releases.Rollback(request, timeout=timeout_s)
    _print_changed(response, as_json, lambda release: f"is rolled back: {release.stable} answers")


def _print_changed(
    response: HoldReleaseResponse | ResumeReleaseResponse | PromoteResponse | RollbackResponse,
    as_json: bool,
    what: Callable[[Release], str],
) -> None:
    if as_json:
        print_json(plain(response))
    else:
        release = response.release
        click.echo(f"the release of {release.endpoint} {what(release)}; revision {response.revision}")


@command.command("gates")
@click.argument("model")
@click.argument("version")
@timeout_option()
@json_option
@connects("registry")
def gates(model: str, version: str, timeout_s: float, as_json: bool, services: Services) -> None:
    """Show which gates VERSION of MODEL has passed.

    With what to do about the others; exit code 1 if it may not answer callers.
    """
    with release_service(services) as releases:
        found = releases.CheckGates(CheckGatesRequest(model=model, version=version), timeout=timeout_s).gates
    if as_json:
        print_json([plain(gate) for gate in found])
    else:
        print_table(
            ["gate", "passed", "found", "remedy"],
            [(gate.name, gate.passed, gate.message, gate.remedy) for gate in found],
        )
    failed = [gate.name for gate in found if not gate.passed]
    if failed:
        raise Failure(f"{model} {version} may not answer callers: {', '.join(failed)} [GATE_FAILED]")
