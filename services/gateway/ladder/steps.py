"""What answers rows that the route's version fails: the steps of an endpoint's fallback ladder, ready to be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from services.gateway.target import Output, Target


@dataclass(frozen=True, slots=True, eq=False)
class VersionStep:
    """Another version; `places` are those of the outputs of the route's version among its own."""

    target: Target
    places: tuple[int, ...]

    @property
    def subject(self) -> str:
        """What provenance, metrics and traces call it."""
        return f"version {self.target.version}"


@dataclass(frozen=True, slots=True)
class LastAnswerStep:
    """The last answer for the same entity keys, if it is not older than this."""

    max_age_s: float

    @property
    def subject(self) -> str:
        """What provenance, metrics and traces call it."""
        return "last_answer"


@dataclass(frozen=True, slots=True, eq=False)
class StaticStep:
    """The same for every row: an array [1, width] for each output of the route's version."""

    outputs: tuple[npt.NDArray[np.generic], ...]

    @property
    def subject(self) -> str:
        """What provenance, metrics and traces call it."""
        return "answer"


Fallback = VersionStep | LastAnswerStep | StaticStep


def places_of(wanted: Sequence[Output], given: Sequence[Output]) -> tuple[int, ...]:
    """Return the places of the `wanted` outputs among those `given`; ValueError if one is not there as it is wanted."""
    places = {(output.name, output.dtype, output.shape): place for place, output in enumerate(given)}
    missing = [output.name for output in wanted if (output.name, output.dtype, output.shape) not in places]
    if missing:
        raise ValueError(f"no output {', '.join(missing)} of the same type and shape")
    return tuple(places[output.name, output.dtype, output.shape] for output in wanted)
