"""Feature plans: which values to read, and how to pack them."""

from __future__ import annotations

from dataclasses import dataclass

from services.features.views import DataType


@dataclass(frozen=True, slots=True)
class FieldSource:
    """A field of a view."""

    view: str
    field: str


@dataclass(frozen=True, slots=True)
class AgeSource:
    """Seconds from a view's event time to as_of."""

    view: str


@dataclass(frozen=True, slots=True)
class RequestSource:
    """A value that the caller of a prediction brings: one element that stays empty here."""


Source = FieldSource | AgeSource | RequestSource


@dataclass(frozen=True)
class PlanView:
    """A view that the plan reads, and the schema it was made for."""

    view: str
    schema_id: int


@dataclass(frozen=True)
class PlanTensor:
    """One tensor to pack."""

    name: str
    data_type: DataType
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Plan:
    """What to read, and how to pack it."""

    views: tuple[PlanView, ...]
    tensors: tuple[PlanTensor, ...]
