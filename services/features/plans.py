"""The plans in use: a bounded cache by plan id."""

from __future__ import annotations

from collections import OrderedDict

from services.features.compilation import CompiledPlan, compile_plan
from services.features.errors import UnknownPlan
from services.features.plan import Plan
from services.features.views import Catalog
from services.mesh.errors import NotReady


class Plans:
    """The plans this service has seen, newest use last; only a cache, bounded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._catalog: Catalog | None = None
        self._plans: OrderedDict[bytes, tuple[Plan, Catalog, CompiledPlan]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def catalog(self) -> Catalog:
        """The views in use. Raises NotReady before the first snapshot."""
        if self._catalog is None:
            raise NotReady("The service has no definitions yet")
        return self._catalog

    def use(self, catalog: Catalog) -> None:
        """Take the views of a newer snapshot; plans are compiled against them when they are next used."""
        if catalog != self._catalog:
            self._catalog = catalog

    def get(self, plan_id: bytes, plan: Plan | None = None) -> CompiledPlan:
        """Return the plan, compiled. Raises UnknownPlan, ViewNotKnownYet, or what is wrong with the plan."""
        known = self._plans.get(plan_id)
        if known is not None:
            self._plans.move_to_end(plan_id)
            if known[1] is self._catalog:
                return known[2]
            plan = known[0]
        catalog = self.catalog
        if plan is None:
            raise UnknownPlan("The plan is not known here; send it along", field="plan_id")
        compiled = compile_plan(plan, catalog)
        self._plans[plan_id] = (plan, catalog, compiled)
        if len(self._plans) > self._limit:
            self._plans.popitem(last=False)
        return compiled
