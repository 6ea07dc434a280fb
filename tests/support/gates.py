"""Gates that stand open, for tests of what lies behind them."""

from __future__ import annotations

from datetime import UTC, datetime

from services.registry.catalog import Catalog
from services.registry.definitions import Model, Version
from services.registry.gatekeeper import Gatekeeper
from services.registry.gates import Gate
from services.registry.readiness import Readiness


class OpenGates(Gatekeeper):
    """Lets every version pass; nobody has reported anything."""

    def __init__(self) -> None:
        super().__init__(Readiness(lambda: 0.0, lambda: datetime.now(UTC)), {})

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """No gates at all."""
        return ()
