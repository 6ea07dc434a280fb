"""What the registry defines. Shaped and named as the messages of registry/v1, so that a field path holds for both."""

from __future__ import annotations

from services.registry.definitions.endpoints import (
    Endpoint,
    Fallback,
    OutcomeKind,
    OutcomePolicy,
    Route,
    Shadow,
    StaticAnswer,
    WeightedVersion,
)
from services.registry.definitions.feature_views import (
    Entity,
    FeatureField,
    FeatureView,
    KeyColumn,
    KeyType,
    SchemaVersion,
    StalePolicy,
)
from services.registry.definitions.graphs import (
    Cascade,
    CascadeStage,
    ConfidenceMeasure,
    Ensemble,
    EnsembleMember,
    EnsembleMethod,
    Graph,
    GraphOutput,
    ModelNode,
    Node,
    NodeInput,
    Port,
)
from services.registry.definitions.models import (
    Artifact,
    FeatureHistogram,
    FieldSource,
    GoldenSet,
    InputBinding,
    MetricGate,
    Model,
    Signature,
    Source,
    TrainingProfile,
    Version,
)
from services.registry.definitions.releases import (
    ErrorRateGuard,
    LatencyGuard,
    QualityGuard,
    QualityMetric,
    Release,
    ReleasePlan,
    ReleaseState,
)
from services.registry.definitions.tensors import (
    DataType,
    Tensor,
    TensorSpec,
)

Resource = FeatureView | Model | Endpoint

__all__ = [
    "Artifact",
    "Cascade",
    "CascadeStage",
    "ConfidenceMeasure",
    "DataType",
    "Endpoint",
    "Ensemble",
    "EnsembleMember",
    "EnsembleMethod",
    "Entity",
    "ErrorRateGuard",
    "Fallback",
    "FeatureField",
    "FeatureHistogram",
    "FeatureView",
    "FieldSource",
    "GoldenSet",
    "Graph",
    "GraphOutput",
    "InputBinding",
    "KeyColumn",
    "KeyType",
    "LatencyGuard",
    "MetricGate",
    "Model",
    "ModelNode",
    "Node",
    "NodeInput",
    "OutcomeKind",
    "OutcomePolicy",
    "Port",
    "QualityGuard",
    "QualityMetric",
    "Release",
    "ReleasePlan",
    "ReleaseState",
    "Resource",
    "Route",
    "SchemaVersion",
    "Shadow",
    "Signature",
    "Source",
    "StalePolicy",
    "StaticAnswer",
    "Tensor",
    "TensorSpec",
    "TrainingProfile",
    "Version",
    "WeightedVersion",
    "namespace_of",
]


def namespace_of(name: str) -> str:
    """The namespace of a `[namespace/]name`; empty if it has none."""
    return name.rpartition("/")[0]
