"""Text forms of sources and their messages say the same."""

from __future__ import annotations

import pytest

from predictmesh.registry.v1.model_pb2 import FieldSource, Source
from services.cli.resources.sources import form, parse


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("carrier:late_6h", Source(field=FieldSource(view="carrier", field="late_6h"))),
        ("team/carrier:late_6h", Source(field=FieldSource(view="team/carrier", field="late_6h"))),
        ("plane.age", Source(age_of_view="plane")),
        ("team/plane.age", Source(age_of_view="team/plane")),
        ("request:hour", Source(request="hour")),
    ],
)
def test_both_directions(text: str, source: Source) -> None:
    """Each form is read as its kind of source, and written as it was read."""
    assert source == parse(text)
    assert text == form(source)


@pytest.mark.parametrize("text", ["", "plane", "plane.", ".age", "plane.year", "a:b:c", ":x", "view:", "request:"])
def test_what_is_no_source(text: str) -> None:
    """Anything else is refused with the forms that there are."""
    with pytest.raises(ValueError, match=r"is no source: view:field, view\.age or request:name"):
        parse(text)
