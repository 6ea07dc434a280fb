"""Models, to and from their YAML form."""

from __future__ import annotations

from predictmesh.registry.v1.model_pb2 import Model
from services.cli.resources.cursor import Cursor


def read_model(document: Cursor) -> Model:
    """Return the model that `document` defines: what is said of it, and its aliases."""
    members = document.mapping(("kind", "name"), ("description", "aliases"))
    model = Model(name=members["name"].text())
    if "description" in members:
        model.description = members["description"].text()
    if "aliases" in members:
        for alias, version in members["aliases"].members().items():
            model.aliases[alias] = version.text()
    return model


def show_model(model: Model) -> dict[str, object]:
    """Return the YAML form of `model`, without its versions."""
    shown: dict[str, object] = {"kind": "Model", "name": model.name}
    if model.description:
        shown["description"] = model.description
    if model.aliases:
        shown["aliases"] = dict(sorted(model.aliases.items()))
    return shown
