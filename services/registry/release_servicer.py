"""The rpcs of releases: decode, call, encode."""

from __future__ import annotations

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import Release as PbRelease
from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceServicer
from predictmesh.registry.v1.traffic_pb2 import ShadowTotals as PbShadowTotals
from services.mesh.context import caller_name
from services.mesh.methods import ServerContext
from services.registry.convert import decode, encode
from services.registry.definitions import ReleasePlan
from services.registry.evidence import ArmEvidence, p99_us
from services.registry.ledger import Author
from services.registry.quality.measures import estimate
from services.registry.releases import ReleaseReport, Releases
from services.registry.releasing import Candidacy
from services.registry.totals import ArmTotals, ShadowTotals
from services.registry.traffic import Traffic

Change = (
    pb.StartReleaseRequest | pb.HoldReleaseRequest | pb.ResumeReleaseRequest | pb.PromoteRequest | pb.RollbackRequest
)


class ReleaseServicer(ReleaseServiceServicer):
    """Serves `releases`, and takes what gateways have counted to `traffic`."""

    def __init__(self, releases: Releases, traffic: Traffic) -> None:
        self._releases = releases
        self._traffic = traffic

    async def StartRelease(self, request: pb.StartReleaseRequest, context: ServerContext) -> pb.StartReleaseResponse:
        """Start a release."""
        revision, release = await self._releases.start(
            Candidacy(request.endpoint, request.candidate, "candidate", request.reason, request.force),
            decode(request.plan, ReleasePlan),
            _author(request, context),
            dry_run=request.dry_run,
            expected_revision=_expected(request),
        )
        return pb.StartReleaseResponse(revision=revision, release=encode(release, PbRelease()))

    async def HoldRelease(self, request: pb.HoldReleaseRequest, context: ServerContext) -> pb.HoldReleaseResponse:
        """Keep a release at its step."""
        held = await self._releases.hold(request.endpoint, _author(request, context), _expected(request))
        return pb.HoldReleaseResponse(revision=held[0], release=encode(held[1], PbRelease()))

    async def ResumeRelease(self, request: pb.ResumeReleaseRequest, context: ServerContext) -> pb.ResumeReleaseResponse:
        """Let a held release go on."""
        resumed = await self._releases.resume(request.endpoint, _author(request, context), _expected(request))
        return pb.ResumeReleaseResponse(revision=resumed[0], release=encode(resumed[1], PbRelease()))

    async def Promote(self, request: pb.PromoteRequest, context: ServerContext) -> pb.PromoteResponse:
        """Let a version answer everything at once."""
        candidacy = Candidacy(request.endpoint, request.version, "version", request.reason, request.force)
        promoted = await self._releases.promote(candidacy, _author(request, context), _expected(request))
        return pb.PromoteResponse(revision=promoted[0], release=encode(promoted[1], PbRelease()))

    async def Rollback(self, request: pb.RollbackRequest, context: ServerContext) -> pb.RollbackResponse:
        """Let the version before answer everything again."""
        returned = await self._releases.roll_back(request.endpoint, _author(request, context), _expected(request))
        return pb.RollbackResponse(revision=returned[0], release=encode(returned[1], PbRelease()))

    async def GetRelease(self, request: pb.GetReleaseRequest, context: ServerContext) -> pb.GetReleaseResponse:
        """Answer the last release of an endpoint."""
        return _encode_report(await self._releases.report(request.endpoint))

    async def CheckGates(self, request: pb.CheckGatesRequest, context: ServerContext) -> pb.CheckGatesResponse:
        """Answer which gates a version has passed."""
        gates = await self._releases.gates(request.model, request.version)
        return pb.CheckGatesResponse(gates=[encode(gate, pb.Gate()) for gate in gates])

    async def ReportTraffic(self, request: pb.ReportTrafficRequest, context: ServerContext) -> pb.ReportTrafficResponse:
        """Take a gateway's totals."""
        await self._traffic.report(
            request.instance_id,
            request.sequence,
            [decode(arm, ArmTotals) for arm in request.arms],
            [decode(shadow, ShadowTotals) for shadow in request.shadows],
        )
        return pb.ReportTrafficResponse()

    async def GetShadowReport(
        self, request: pb.GetShadowReportRequest, context: ServerContext
    ) -> pb.GetShadowReportResponse:
        """Answer how shadows compare."""
        self._releases.check_endpoint(request.endpoint)
        shadows = await self._traffic.shadows(request.endpoint)
        return pb.GetShadowReportResponse(shadows=[encode(each, PbShadowTotals()) for each in shadows])


def _author(request: Change, context: ServerContext) -> Author:
    return Author.asking(caller_name() or request.actor or context.peer(), request.reason)


def _expected(request: Change) -> int | None:
    return request.expected_revision if request.HasField("expected_revision") else None


def _encode_report(report: ReleaseReport) -> pb.GetReleaseResponse:
    response = pb.GetReleaseResponse(
        release=encode(report.release, PbRelease()),
        verdicts=[encode(verdict, pb.GuardVerdict()) for verdict in report.verdicts],
        waiting_for=report.waiting_for,
        revision=report.revision,
    )
    plan = report.release.plan
    for step in report.steps:
        response.steps.add(
            step=step.step,
            percent=plan.steps[step.step],
            stable=_encode_arm(step.stable, plan),
            candidate=_encode_arm(step.candidate, plan),
        )
    return response


def _encode_arm(arm: ArmEvidence, plan: ReleasePlan) -> pb.ArmEvidence:
    response = pb.ArmEvidence(
        requests=arm.requests,
        errors=arm.errors,
        p99_us=p99_us(arm.latency),
        outcomes=arm.outcomes.n if arm.outcomes else 0,
    )
    quality = estimate(plan.quality.metric, arm.outcomes) if plan.quality else None
    if quality:
        response.quality = quality.value
    return response
