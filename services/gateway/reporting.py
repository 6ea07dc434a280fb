"""What the gateway tells the registry of its traffic: totals, again and again, so that no report matters by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Changes(Protocol[T]):
    """Totals since the process started, some of which change."""

    def changed(self) -> Sequence[T]:
        """Return the totals that have changed since they were taken, as they are now; they are not changed later."""

    def taken(self, totals: Sequence[T]) -> None:
        """Note that the registry has these; what has changed since is still to be told."""
