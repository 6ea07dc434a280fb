"""How each version is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# The others are asked about one departure a call, as an application would.
_TOGETHER = {"1.0.0"}


@dataclass(frozen=True)
class Way:
    """By the endpoint's route or by `pin`; about one departure a call, or `together` about all of a minute."""

    pin: str = ""
    together: bool = False

    def __str__(self) -> str:
        asked = "by pin" if self.pin else "by route"
        return f"{asked}, all of a minute" if self.together else f"{asked}, one a call"


def ways_of(versions: Iterable[str], routed: str) -> dict[str, Way]:
    """Return how each version is asked; `routed` is the one that answers without a pin."""
    return {version: Way("" if version == routed else version, version in _TOGETHER) for version in versions}
