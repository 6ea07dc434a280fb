"""Which versions a route leads to, and the rules of routes and shadows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from services.mesh import selectors
from services.registry.definitions import Endpoint, Model, Route, Shadow, Version, WeightedVersion
from services.registry.errors import InvalidDefinition, NamesUnknownAlias, NamesUnknownVersion
from services.registry.faults import Faults

# A share is a number of ten thousandths.
STEP_PERCENT = 0.01


def resolve(selector: str, model: Model) -> Version | None:
    """The version that a selector leads to; a range to its newest released one."""
    numbers = [version.version for version in model.versions]
    number = selectors.resolve(selector, numbers, model.aliases, model.released_versions)
    return model.find(number) if number else None


def needs_released(route: Route, model: Model, number: str) -> bool:
    """Whether the route names the version by itself, or by a range in which no other has been released."""
    without = replace(model, released_versions=tuple(each for each in model.released_versions if each != number))
    return any(
        (led := resolve(selector, model)) and led.version == number and resolve(selector, without) in (None, led)
        for selector in route.selectors
    )


def answering(route: Route, model: Model) -> tuple[Version, ...]:
    """The versions that answer, without those that are not there."""
    found = (_answering(selector, model) for selector in route.selectors)
    return tuple({version.version: version for version in found if version}.values())


def _answering(selector: str, model: Model) -> Version | None:
    """A range that leads nowhere yet releases, by being routed to, the newest version that it matches."""
    version = resolve(selector, model)
    if version is None and selectors.is_range(selector):
        number = selectors.newest_in(selector, [each.version for each in model.versions])
        return model.find(number) if number else None
    return version


def is_share(percent: float) -> bool:
    """Whether it is a share in percent: more than 0, at most 100, in steps of 0.01."""
    return 0 < percent <= 100 and math.isclose(percent / STEP_PERCENT, round(percent / STEP_PERCENT))


def check_percent(percent: float, path: str, faults: Faults) -> None:
    """A share of requests."""
    if not is_share(percent):
        faults.add(InvalidDefinition, path, f"{percent:g} is no share: more than 0, at most 100, in steps of 0.01")


def check_route(route: Route, model: Model, path: str, faults: Faults) -> None:
    """The route leads to versions of the model."""
    single = [kind for kind in ("version", "alias", "range") if getattr(route, kind)]
    if len(single) + bool(route.weights) != 1:
        faults.add(InvalidDefinition, path, "a route names a version, an alias or a range, or has weights")
    elif route.version and not model.find(route.version):
        _add_unknown_version(route.version, model, f"{path}.version", faults)
    elif route.alias and route.alias not in model.aliases:
        _add_unknown_alias(route.alias, model, f"{path}.alias", faults)
    elif route.range:
        _check_range(route.range, model, f"{path}.range", faults)
    else:
        _check_weights(route.weights, model, f"{path}.weights", faults)


def _check_range(range_: str, model: Model, path: str, faults: Faults) -> None:
    if not selectors.is_range(range_):
        faults.add(InvalidDefinition, path, f"{range_!r} is no range such as 1.x or 1.2.x")
    elif _answering(range_, model) is None:
        _add_unknown_version(range_, model, path, faults)


def _check_weights(weights: tuple[WeightedVersion, ...], model: Model, path: str, faults: Faults) -> None:
    if not weights:
        return
    if len(weights) == 1:
        faults.add(InvalidDefinition, path, "one version has no share to give away: name it as the route's version")
    seen: dict[str, str] = {}
    for index, weight in enumerate(weights):
        check_percent(weight.percent, f"{path}[{index}].percent", faults)
        version = check_selector(weight.selector, model, f"{path}[{index}].selector", faults)
        if version and version.version in seen:
            why = f"{weight.selector} and {seen[version.version]} are both {version.version}: give it one share"
            faults.add(InvalidDefinition, f"{path}[{index}].selector", why)
        elif version:
            seen[version.version] = weight.selector
    total = math.fsum(weight.percent for weight in weights)
    if not math.isclose(total, 100):
        faults.add(InvalidDefinition, path, f"the shares make {total:g}, not 100")


def check_shadow(shadow: Shadow, model: Model, path: str, faults: Faults) -> None:
    """The shadow is a version of the model."""
    check_percent(shadow.percent, f"{path}.percent", faults)
    for name in ("absolute_tolerance", "relative_tolerance"):
        if not 0 <= getattr(shadow, name) < math.inf:
            faults.add(InvalidDefinition, f"{path}.{name}", "a tolerance is 0 or more")
    check_selector(shadow.selector, model, f"{path}.selector", faults)


def check_shadow_acts(endpoint: Endpoint, models: Mapping[str, Model], path: str, faults: Faults) -> None:
    """The shadow leads to a version that is not the one that answers. What it names may come to lead elsewhere later."""
    model = models.get(endpoint.model)
    if model is None or endpoint.shadow is None:
        return
    selector = endpoint.shadow.selector
    version = resolve(selector, model)
    if version is None and _answering(selector, model):
        why = f"no version in {selector} has been released, so that it would lead nowhere: name a version"
        faults.add(InvalidDefinition, f"{path}.shadow.selector", why)
    if version and answering(endpoint.route, model) == (version,):
        why = f"{version.version} answers already: a shadow is another version"
        faults.add(InvalidDefinition, f"{path}.shadow.selector", why)


def check_selector(selector: str, model: Model, path: str, faults: Faults) -> Version | None:
    """It leads to a version of the model, or will when that is released; returns the version."""
    version = _answering(selector, model)
    if version is None and selector[:1].isalpha():
        _add_unknown_alias(selector, model, path, faults)
    elif version is None:
        _add_unknown_version(selector, model, path, faults)
    return version


def _add_unknown_version(selector: str, model: Model, path: str, faults: Faults) -> None:
    known = ", ".join(version.version for version in model.versions) or "no versions"
    faults.add(NamesUnknownVersion, path, f"there is no {model.name}@{selector}; it has {known}")


def _add_unknown_alias(alias: str, model: Model, path: str, faults: Faults) -> None:
    known = ", ".join(sorted(model.aliases)) or "no aliases"
    faults.add(NamesUnknownAlias, path, f"model {model.name} has no alias {alias!r}; it has {known}")
