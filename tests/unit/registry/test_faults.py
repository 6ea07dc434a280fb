"""What is wrong with a request, all at once."""

from __future__ import annotations

import pytest

from services.mesh.errors import MeshError
from services.registry.errors import InvalidDefinition
from services.registry.faults import MAX_FAULTS, Faults


def test_the_first_faults_are_enough() -> None:
    """A request can break one rule a million times: neither memory nor the message grows with it."""
    faults = Faults()
    for _ in range(2):
        more = Faults()
        for index in range(MAX_FAULTS):
            more.add(InvalidDefinition, f"nodes[{index}]", "is there twice")
        faults.extend(more)
    assert len(faults.descriptions) == MAX_FAULTS
    with pytest.raises(MeshError) as caught:
        faults.check()
    assert len(caught.value.violations) == MAX_FAULTS
