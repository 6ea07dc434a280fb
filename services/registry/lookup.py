"""What a request names, found or refused with the field that names it."""

from __future__ import annotations

from collections.abc import Mapping

from services.registry.definitions import Model, Version
from services.registry.errors import UnknownModel, UnknownVersion


def find_version(models: Mapping[str, Model], name: str, number: str, *, path: str) -> Version:
    """The version of a request whose field `path` is a VersionName; raises UnknownModel or UnknownVersion."""
    model = models.get(name)
    if model is None:
        raise UnknownModel(f"there is no model {name!r}", field=f"{path}.model", model=name)
    version = model.find(number)
    if version is None:
        raise UnknownVersion(f"there is no {name}@{number}", field=f"{path}.version", model=name, version=number)
    return version
