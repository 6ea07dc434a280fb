"""The files of the releases, beside those of the versions that they are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo.flight_delay import definitions
from deploy.demo.flight_delay.release.board import BOARD
from deploy.demo.flight_delay.release.definitions import BETTER, BROKEN, HERE, read_plan
from predictmesh.registry.v1.endpoint_pb2 import Endpoint, OutcomeKind
from services.cli.resources.files import read_resources, read_version_file


def endpoint(file: Path) -> Endpoint:
    """The endpoint of a file."""
    (found,) = (resource for _, resource in read_resources([file]) if resource.HasField("endpoint"))
    return found.endpoint


def test_the_broken_version_has_two_sources_swapped_and_nothing_else() -> None:
    """Two of one input: types and shapes are those of the model that it was copied from."""
    model, good = read_version_file(definitions.HERE / "versions" / f"{BETTER}.yaml")
    broken_model, broken = read_version_file(HERE / f"{BROKEN}.yaml")
    assert (model, BROKEN) == (broken_model, broken.version)
    assert good.signature == broken.signature
    before, after = ([source for entry in version.bindings for source in entry.sources] for version in (good, broken))
    swapped = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert 2 == len(swapped)
    first, second = swapped
    assert (before[first], before[second]) == (after[second], after[first])
    sizes = [len(entry.sources) for entry in good.bindings]
    assert sizes == [len(entry.sources) for entry in broken.bindings]


def test_the_board_begins_with_the_oldest_version_and_keeps_every_prediction() -> None:
    """And is asked as the other endpoint is."""
    board = endpoint(HERE / "endpoint.yaml")
    other = endpoint(definitions.HERE / "endpoints.yaml")
    assert (BOARD, "1.0.0", OutcomeKind.OUTCOME_KIND_BINARY) == (board.name, board.route.version, board.outcomes.kind)
    assert 0 == board.outcomes.sample_percent
    assert (other.model, list(other.sample_entities)) == (board.model, list(board.sample_entities))
    assert list(other.sample_features) == list(board.sample_features)


@pytest.mark.parametrize("guard", ["error_rate", "latency", "quality"])
def test_every_guard_looks(guard: str) -> None:
    """So that quality alone means that the others have found nothing."""
    assert read_plan().HasField(guard)  # type: ignore[arg-type]  # a literal in the stubs
