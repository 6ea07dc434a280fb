"""Whether resources can change: each at its path, against the catalog that they make together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.mesh.errors import MissingField
from services.registry.binding import check_binding
from services.registry.catalog import Catalog
from services.registry.definitions import Endpoint, FeatureView, Model, Resource, Version
from services.registry.endpoints import check_endpoint, check_samples
from services.registry.errors import GateFailed, IncompatibleChange, InUse, ReleaseActive, VersionNotReady
from services.registry.fallbacks import check_fallbacks_act
from services.registry.faults import Faults
from services.registry.following import check_follower, followers, release_first
from services.registry.gatekeeper import Gatekeeper
from services.registry.gates import ready_gates
from services.registry.ledger import Author
from services.registry.models import check_model
from services.registry.routes import answering, check_shadow_acts, resolve
from services.registry.views import check_entity_agrees, check_evolution, check_view


@dataclass(frozen=True, slots=True)
class Waivers:
    """What a caller lets pass: versions without a golden set that no process has READY, or by `force` all there is here."""

    allow_unready: bool = False
    force: bool = False


def check_forced(force: bool, author: Author) -> None:
    """Whoever overrides a rule says why, for the log."""
    if force and not author.reason.strip():
        raise MissingField("force overrides rules that protect callers: say why", field="reason")


@dataclass(frozen=True, slots=True)
class Vetting:
    """Notes every fault of what changes from `old` to `new`; `forced` says what was let pass by force."""

    old: Catalog
    new: Catalog
    gatekeeper: Gatekeeper
    waivers: Waivers
    faults: Faults
    forced: list[str] = field(default_factory=list)

    def run(self, moved: Mapping[str, Resource]) -> None:
        """Vet the resources that change, by path."""
        given = {resource.name for resource in moved.values() if isinstance(resource, Endpoint)}
        for path, resource in moved.items():
            match resource:
                case FeatureView():
                    self._view(resource, path)
                case Model():
                    self._model(resource, path, given)
                case Endpoint():
                    self._endpoint(resource, path)
        for follower in followers(self.old, self.new, given):
            check_follower(self.old, self.new, follower, _cause(follower, moved), self.faults)

    def _view(self, view: FeatureView, path: str) -> None:
        check_view(view, path, self.faults)
        check_entity_agrees(view, self.new.views.values(), path, self.faults)
        present = self.old.views.get(view.name)
        if present:
            check_evolution(present, view, path, self.faults)
            self._readers(view, path)
            self._defaults(present, view, path)

    def _readers(self, view: FeatureView, path: str) -> None:
        for model, version in self.new.readers_of(view.name):
            broken = Faults()
            check_binding(version, self.new.views, "", broken)
            if broken:
                why = f"{model.name}@{version.version} reads it: {broken.descriptions[0]}"
                self.faults.add(IncompatibleChange, path, why)

    def _defaults(self, old: FeatureView, new: FeatureView, path: str) -> None:
        """A default that changes makes a version that answers callers see other values than it was made for."""
        for index, (was, now) in enumerate(zip(old.fields, new.fields, strict=False)):
            if was.default_value == now.default_value:
                continue
            readers = [name for name, version in self._live() if (new.name, now.name) in _fields_of(version)]
            if readers:
                why = f"{', '.join(readers)} reads {now.name} and answers callers: its default cannot change"
                self._refuse_unless_forced(f"{path}.fields[{index}].default_value", why)

    def _live(self) -> list[tuple[str, Version]]:
        """Versions that answer callers, or may, each once."""
        found = {
            f"{endpoint.model}@{version.version}": version
            for endpoint in self.new.endpoints.values()
            for version in self.new.serving(endpoint)
        }
        return list(found.items())

    def _refuse_unless_forced(self, path: str, why: str) -> None:
        if self.waivers.force:
            self.forced.append(f"{path}: {why}")
        else:
            remedy = "append a field for the versions to come, or force it with a reason"
            self.faults.add(IncompatibleChange, path, f"{why}; {remedy}")

    def _model(self, model: Model, path: str, given: set[str]) -> None:
        """Endpoints that its aliases lead elsewhere, or nowhere, are `given` from then on."""
        check_model(model, path, self.faults)
        present = self.old.models.get(model.name, Model(model.name))
        moved = {alias for alias, number in model.aliases.items() if present.aliases.get(alias) != number}
        gone = present.aliases.keys() - model.aliases.keys()
        routed: set[str] = set()
        for endpoint in self.new.endpoints.values():
            if endpoint.model == model.name and endpoint.name not in given:
                named = set(endpoint.selectors)
                self._gone_aliases(endpoint, gone & named, path)
                if moved & named:
                    routed |= moved & set(endpoint.serving_selectors)
                    self._led_elsewhere(endpoint, f"{path}.aliases.{min(moved & named)}")
                if (moved | gone) & named:
                    given.add(endpoint.name)
        for alias in sorted(moved - routed):
            version = model.find(model.aliases[alias])
            if version:
                self._ready(model, version, f"{path}.aliases.{alias}")

    def _gone_aliases(self, endpoint: Endpoint, aliases: Iterable[str], path: str) -> None:
        for alias in sorted(aliases):
            self.faults.add(InUse, f"{path}.aliases", f"endpoint {endpoint.name} names alias {alias}")

    def _led_elsewhere(self, endpoint: Endpoint, at: str) -> None:
        """An alias that moves takes the endpoint with it, which must be able to follow."""
        check_follower(self.old, self.new, endpoint, at, self.faults)
        broken = Faults()
        check_shadow_acts(endpoint, self.new.models, "", broken)
        check_fallbacks_act(endpoint, self.new.models, "", broken)
        for description in broken.descriptions:
            self.faults.add(IncompatibleChange, at, f"endpoint {endpoint.name} follows the alias: {description}")
        self._gates(endpoint, at, at)

    def _endpoint(self, endpoint: Endpoint, path: str) -> None:
        check_endpoint(endpoint, self.new.models, self.new.views, path, self.faults)
        check_samples(endpoint, self.new.models, self.new.views, path, self.faults)
        check_shadow_acts(endpoint, self.new.models, path, self.faults)
        check_fallbacks_act(endpoint, self.new.models, f"{path}.fallbacks", self.faults)
        present = self.old.endpoints.get(endpoint.name)
        if present and self.old.release_under_way(endpoint.name):
            self._unmoved(present, endpoint, path)
        self._gates(endpoint, f"{path}.route", f"{path}.fallbacks")
        model = self.new.models.get(endpoint.model)
        shadowing = resolve(endpoint.shadow.selector, model) if model and endpoint.shadow else None
        if model and shadowing and (present is None or present.shadow != endpoint.shadow):
            self._ready(model, shadowing, f"{path}.shadow.selector")

    def _unmoved(self, old: Endpoint, new: Endpoint, path: str) -> None:
        """What a release rests on stays while it is under way; its route, though it reads the same, may lead elsewhere."""
        changed = {
            name
            for name in ("model", "route", "sticky_key", "outcomes", "fallbacks")
            if getattr(old, name) != getattr(new, name)
        }
        if "model" not in changed and self._led(self.old, old) != self._led(self.new, new):
            changed.add("route")
        for name in sorted(changed):
            self.faults.add(ReleaseActive, f"{path}.{name}", release_first(new.name))

    @staticmethod
    def _led(catalog: Catalog, endpoint: Endpoint) -> list[str]:
        return [version.version for version in answering(endpoint.route, catalog.models[endpoint.model])]

    def _gates(self, endpoint: Endpoint, route: str, ladder: str) -> None:
        """Versions that could not answer callers of the endpoint before must have passed their gates."""
        model = self.new.models.get(endpoint.model)
        present = self.old.endpoints.get(endpoint.name)
        before = {version.version for version in self.old.serving(present)} if present else set()
        same_model = present is not None and present.model == endpoint.model
        routed = self.new.answering(endpoint)
        for version in self.new.serving(endpoint):
            if model and not (same_model and version.version in before):
                self._gates_of(model, version, route if version in routed else ladder)

    def _gates_of(self, model: Model, version: Version, path: str) -> None:
        readying = ready_gates(self.new, version)
        for gate in self.gatekeeper.failed(self.new, model, version):
            unready = readying.get(gate.name)
            # A golden set that nobody has run says nothing of the version: that takes more than leave to begin early.
            if unready and self.waivers.allow_unready and unready.golden is None:
                continue
            if self.waivers.force:
                self.forced.append(f"{model.name}@{version.version}: gate {gate.name}")
            else:
                kind = VersionNotReady if unready else GateFailed
                self.faults.add(kind, path, f"gate {gate.name}: {gate.text}")

    def _ready(self, model: Model, version: Version, path: str) -> None:
        why = self.gatekeeper.why_not_ready(self.new, model, version)
        if not why or self.waivers.allow_unready:
            return
        if self.waivers.force:
            self.forced.append(f"{path}: {why}")
        else:
            self.faults.add(VersionNotReady, path, why)


def _fields_of(version: Version) -> set[tuple[str, str]]:
    """The fields that the version reads, each with its view."""
    return {
        (source.field.view, source.field.field)
        for binding in version.bindings
        for source in binding.sources
        if source.field
    }


def _cause(follower: Endpoint, moved: Mapping[str, Resource]) -> str:
    """The path of what makes the endpoint follow: its model has been given other aliases, or another endpoint a route."""
    return next(
        path
        for path, resource in moved.items()
        if follower.model == (resource.model if isinstance(resource, Endpoint) else resource.name)
    )
