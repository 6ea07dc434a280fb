"""The rules of models: aliases that name versions."""

from __future__ import annotations

from services.registry.definitions import Model
from services.registry.errors import NamesUnknownVersion
from services.registry.faults import Faults
from services.registry.names import check_alias, check_name


def check_model(model: Model, path: str, faults: Faults) -> None:
    """The model with its versions, as it will be."""
    check_name(model.name, f"{path}.name", faults)
    for alias, version in model.aliases.items():
        at = f"{path}.aliases.{alias}"
        check_alias(alias, at, faults)
        if not model.find(version):
            faults.add(NamesUnknownVersion, at, f"there is no {model.name}@{version}")
