"""Who may call which method: data, with an entry for each rpc that a service answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.mesh.security.caller import Role
from services.mesh.security.subjects import Subjects, deleted, field, resources

EXCHANGE = "/predictmesh.mesh.v1.ExchangeService/Exchange"


@dataclass(frozen=True, slots=True)
class Rule:
    """Whose method it is. An operator may call every method.

    `subjects` reads the names that a request is about; a caller who is limited to some names is not let in for others,
    and without `subjects` not at all, but where the method is `unlimited`. `one_by_one`: the service itself refuses a
    request of the stream, and answers the others. `open`: anybody may call it.
    """

    roles: frozenset[Role] = frozenset({Role.OPERATOR})
    subjects: Subjects | None = None
    unlimited: bool = False
    one_by_one: bool = False
    open: bool = False


def _for(*roles: Role, subjects: Subjects | None = None, unlimited: bool = False) -> Rule:
    return Rule(frozenset({Role.OPERATOR, *roles}), subjects, unlimited)


_CALLER, _RELEASER, _SERVICE, _WRITER = Role.CALLER, Role.RELEASER, Role.SERVICE, Role.WRITER
_HOP = _for(_SERVICE)
_OPERATOR = _for()
_OPEN = Rule(open=True)
_READ = _for(_RELEASER, unlimited=True)  # tells of everything, as snapshots do
_ENDPOINT = _for(_RELEASER, subjects=field("endpoint"))
_MODEL = _for(_SERVICE, _RELEASER, subjects=field("name"))
# What only Triton itself answers; to whom it fronts for, this service says that it has no such method.
_UNANSWERED = (
    "RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings",
    "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister",
)  # fmt: skip

BY_SERVICE: Mapping[str, Mapping[str, Rule]] = {
    "predictmesh.gateway.v1.PredictionService": {
        "Predict": _for(_CALLER, subjects=field("endpoint")),
        "PredictStream": Rule(frozenset({Role.OPERATOR, _CALLER}), subjects=field("request.endpoint"), one_by_one=True),
        "Explain": _for(_CALLER, subjects=field("request.endpoint")),
        "RecordOutcome": _for(_CALLER, unlimited=True),  # a prediction is known by its id alone
        "ListEndpoints": _for(_CALLER, _RELEASER, unlimited=True),  # answers those that the caller may use
    },
    "predictmesh.features.v1.FeatureService": {
        "GetFeatures": _HOP,
        "WriteFeatures": _for(_WRITER, subjects=field("batch.view")),
        "StreamFeatures": _for(_WRITER, subjects=field("batch.view")),
        "DeleteEntity": _for(subjects=field("entity")),
    },
    "predictmesh.model.v1.ModelService": {"DescribeRuntimes": _READ, "WatchRuntimes": _READ},
    "inference.GRPCInferenceService": {
        "ServerLive": _OPEN,  # they tell no more than health does
        "ServerReady": _OPEN,
        "ModelReady": _MODEL,
        "ServerMetadata": _for(_SERVICE, _RELEASER, unlimited=True),
        "ModelMetadata": _MODEL,
        "ModelConfig": _MODEL,
        "ModelStatistics": _MODEL,
        "RepositoryIndex": _for(_SERVICE, _RELEASER, unlimited=True),
        "ModelInfer": _HOP,
        "ModelStreamInfer": _HOP,
        **dict.fromkeys(_UNANSWERED, _OPERATOR),
    },
    "predictmesh.registry.v1.RegistryService": {
        "Apply": _for(_RELEASER, subjects=resources),
        "RegisterVersion": _for(_RELEASER, subjects=field("model")),
        "GetVersion": _for(_RELEASER, subjects=field("name.model")),
        # Known by its SHA-256, and worth nothing before a version names it.
        "UploadArtifact": _for(_RELEASER, unlimited=True),
        "Delete": _for(subjects=deleted),
        "GetSnapshot": _for(_RELEASER, _WRITER, _SERVICE, unlimited=True),
        "WatchSnapshot": _HOP,
        "ReportRuntime": _HOP,
        "ListRuntimes": _READ,
        "ListEvents": _READ,
        "ImportEvents": _OPERATOR,
    },
    "predictmesh.registry.v1.ReleaseService": {
        "StartRelease": _ENDPOINT,
        "HoldRelease": _ENDPOINT,
        "ResumeRelease": _ENDPOINT,
        "Promote": _ENDPOINT,
        "Rollback": _ENDPOINT,
        "GetRelease": _ENDPOINT,
        "CheckGates": _for(_RELEASER, subjects=field("model")),
        "ReportTraffic": _HOP,
        "GetShadowReport": _ENDPOINT,
    },
    "predictmesh.registry.v1.QualityService": {
        "RecordPredictions": _HOP,
        "RecordOutcomes": _HOP,
        "GetQuality": _ENDPOINT,
        "ExportPredictions": _ENDPOINT,
    },
    "predictmesh.mesh.v1.ExchangeService": {"Exchange": _HOP},
}

RULES: Mapping[str, Rule] = {
    f"/{service}/{method}": rule for service, rules in BY_SERVICE.items() for method, rule in rules.items()
}
# What a service answers that is not in the list is for operators until it is.
UNLISTED = _OPERATOR
