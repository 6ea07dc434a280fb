"""Events of the registry's log in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from predictmesh.registry.v1.registry_service_pb2 import Event

# JSON, in which what has its default value is absent.
Content = Mapping[str, Any]


def content_of(event: Event) -> Content:
    """Return what the event holds; nothing where a newer registry has written what this release cannot read."""
    try:
        content = json.loads(event.payload)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def concerns(event: Event, endpoint: str) -> bool:
    """Return whether the event changes the endpoint or its release."""
    content = content_of(event)
    if event.type == "release_changed":
        return bool(content.get("release", {}).get("endpoint") == endpoint)
    if event.type == "resource_deleted":
        return (content.get("kind"), content.get("name")) == ("endpoint", endpoint)
    return any(each.get("name") == endpoint for each in content.get("endpoints", ()))


class Narrator:
    """Tells events in their order, and remembers releases, to say how they stood before."""

    def __init__(self) -> None:
        self._releases: dict[str, Content] = {}

    def tell(self, event: Event) -> str:
        """Return what has happened."""
        content = content_of(event)
        match event.type:
            case "resources_applied":
                return _applied(content)
            case "version_registered":
                version = content.get("version", {})
                runtimes = ", ".join(artifact.get("runtime", "") for artifact in version.get("artifacts", ()))
                return f"{content.get('model')} {version.get('version')} registered, for {runtimes}"
            case "resource_deleted":
                return f"{_kind(content)} deleted"
            case "release_changed":
                return self._release(content.get("release", {}))
        return event.type

    def _release(self, release: Content) -> str:
        endpoint = release.get("endpoint", "")
        before = self._releases.get(endpoint, {})
        self._releases[endpoint] = release
        known = before if before.get("id") == release.get("id") else {}
        forced = release.get("forced_gates", ())
        suffix = f", in spite of {', '.join(forced)}" if forced and not known else ""
        return f"release of {endpoint}: {_standing(release, known)}{suffix}"


def _standing(release: Content, before: Content) -> str:
    candidate, stable, percent = release.get("candidate"), release.get("stable"), _percent(release)
    match release.get("state"):
        case "PROMOTED":
            return f"{candidate} promoted, in place of {stable}"
        case "ROLLED_BACK":
            return f"{candidate} rolled back, {stable} answers"
        case "HELD":
            return f"{candidate} held at {percent}"
    if release.get("start_time") == release.get("step_time") == release.get("state_time"):
        return f"{candidate} in place of {stable} at {percent}"
    if before.get("state") == "HELD":
        return f"{candidate} goes on at {percent}"
    return f"{candidate} at {percent}" + (f" (was {_percent(before)})" if before else "")


def _percent(release: Content) -> str:
    steps, step = release.get("plan", {}).get("steps", ()), release.get("step", 0)
    return f"{steps[step]:g} %" if step < len(steps) else f"step {step + 1}"


def _applied(content: Content) -> str:
    forced = f", in spite of {'; '.join(content['forced'])}" if content.get("forced") else ""
    return f"{'; '.join(_resources(content))} applied{forced}"


def _resources(content: Content) -> Iterator[str]:
    for view in content.get("feature_views", ()):
        yield f"view {view.get('name')}"
    for model in content.get("models", ()):
        aliases = ", ".join(f"{alias}={version}" for alias, version in sorted(model.get("aliases", {}).items()))
        yield f"model {model.get('name')}" + (f" ({aliases})" if aliases else "")
    for endpoint in content.get("endpoints", ()):
        yield f"endpoint {endpoint.get('name')} ({_route(endpoint.get('route', {}))})"


def _route(route: Content) -> str:
    if "weights" in route:
        return ", ".join(f"{weight.get('selector')} {weight.get('percent'):g} %" for weight in route["weights"])
    return ", ".join(f"{kind} {name}" for kind, name in route.items())


def _kind(content: Content) -> str:
    if content.get("kind") == "version":
        return f"{content.get('name')} {content.get('version')}"
    return f"{str(content.get('kind')).replace('_', ' ')} {content.get('name')}"
