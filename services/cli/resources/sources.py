"""Sources of a model's inputs in their text forms: `view:field`, `view.age`, `request:name`."""

from __future__ import annotations

from predictmesh.registry.v1.model_pb2 import FieldSource, Source

_FORMS = "view:field, view.age or request:name"


def parse(text: str) -> Source:
    """Return the source that `text` names; the view may be `namespace/view`. ValueError if it names none."""
    place, colon, name = text.partition(":")
    if not colon:
        view, dot, attribute = text.rpartition(".")
        if not view or not dot or attribute != "age":
            raise ValueError(f"{text!r} is no source: {_FORMS}")
        return Source(age_of_view=view)
    if not place or not name or ":" in name:
        raise ValueError(f"{text!r} is no source: {_FORMS}")
    if place == "request":
        return Source(request=name)
    return Source(field=FieldSource(view=place, field=name))


def form(source: Source) -> str:
    """Return the text that `parse` reads as `source`."""
    if source.HasField("field"):
        return f"{source.field.view}:{source.field.field}"
    return f"request:{source.request}" if source.HasField("request") else f"{source.age_of_view}.age"
