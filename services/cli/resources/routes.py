"""Which versions answer an endpoint, before its callers or in their shadow, to and from the YAML form."""

from __future__ import annotations

from predictmesh.registry.v1.endpoint_pb2 import Route, Shadow, WeightedVersion
from services.cli.resources.cursor import Cursor
from services.cli.values import whole

_KINDS = ("version", "alias", "range")


def read_route(cursor: Cursor) -> Route:
    """Return the route: one version, by number, alias or range, or several by weight."""
    members = cursor.mapping((), (*_KINDS, "weights"))
    if len(members) != 1:
        cursor.fail("must name one of version, alias, range (e.g. 1.x) and weights")
    (kind, member), *_ = members.items()
    if kind == "version":
        return Route(version=member.text())
    if kind == "alias":
        return Route(alias=member.text())
    return Route(range=member.text()) if kind == "range" else Route(weights=_read_weights(member))


def _read_weights(cursor: Cursor) -> list[WeightedVersion]:
    members = cursor.members()
    if not members:
        cursor.fail("must hold VERSION: PERCENT, e.g. {1.0.0: 95, 1.1.0: 5}")
    return [WeightedVersion(selector=selector, percent=member.percent()) for selector, member in members.items()]


def show_route(route: Route) -> dict[str, object]:
    """Return the YAML form of a route."""
    if route.weights:
        return {"weights": {weight.selector: whole(weight.percent) for weight in route.weights}}
    kind = route.WhichOneof("kind") or "version"
    return {kind: getattr(route, kind)}


def read_shadow(cursor: Cursor) -> Shadow:
    """Return the shadow; `version` is any selector."""
    members = cursor.mapping(("version", "percent"), ("absolute_tolerance", "relative_tolerance"))
    shadow = Shadow(selector=members["version"].text(), percent=members["percent"].percent())
    if "absolute_tolerance" in members:
        shadow.absolute_tolerance = members["absolute_tolerance"].at_least(0)
    if "relative_tolerance" in members:
        shadow.relative_tolerance = members["relative_tolerance"].at_least(0)
    return shadow


def show_shadow(shadow: Shadow) -> dict[str, object]:
    """Return the YAML form of a shadow."""
    shown: dict[str, object] = {"version": shadow.selector, "percent": whole(shadow.percent)}
    if shadow.absolute_tolerance:
        shown["absolute_tolerance"] = whole(shadow.absolute_tolerance)
    if shadow.relative_tolerance:
        shown["relative_tolerance"] = whole(shadow.relative_tolerance)
    return shown
