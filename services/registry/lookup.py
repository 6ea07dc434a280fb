"""What a request names, found or refused with the field that names it."""

from __future__ import annotations

from collections.abc import Mapping

from services.registry.definitions import Model, Version
from services.registry.errors import UnknownModel, UnknownVersion


def find_version(models: Mapping[str, Model], name: str, number: str, *, path: str = "") -> Version:
    """The version of a request, or of its field `path`, which names both; raises UnknownModel or UnknownVersion."""
    prefix = f"{path}." if path else ""
    model = models.get(name)
    if model is None:
        raise UnknownModel(f"there is no model {name!r}", field=f"{prefix}model", model=name)
    version = model.find(number)
    if version is None:
        raise UnknownVersion(f"there is no {name}@{number}", field=f"{prefix}version", model=name, version=number)
    return version
