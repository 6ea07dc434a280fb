"""What the composed versions answer, from the scores of the versions that they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.demo.flight_delay.composition.offline import Cascade, Ensemble, read_cascade, read_ensemble

SCORES = {"a": np.array([0.05, 0.5, 0.95, 0.2], np.float32), "b": np.array([0.3, 0.3, 0.3, 0.3], np.float32)}


def test_a_cascade_is_sure_of_either_outcome() -> None:
    """Of punctual as of late flights; the second answers the others."""
    cascade = Cascade("a", "b", 0.9)
    assert [True, False, True, False] == cascade.sure(SCORES).tolist()
    assert np.array([0.05, 0.3, 0.95, 0.3], np.float32).tolist() == cascade.score(SCORES).tolist()


def test_an_answer_at_the_threshold_is_sure() -> None:
    """As the gateway has it."""
    assert Cascade("a", "b", 0.75).sure({"a": [0.25, 0.75]}).all()


def test_an_ensemble_is_the_mean_by_weight() -> None:
    """Of one departure as of many."""
    ensemble = Ensemble({"a": 1, "b": 3})
    assert pytest.approx([0.2375, 0.35, 0.4625, 0.275]) == ensemble.score(SCORES).tolist()
    assert pytest.approx(0.2375) == float(ensemble.score({"a": 0.05, "b": 0.3}))


def test_the_files_are_read_as_they_are_written() -> None:
    """The small network comes first, the trees behind it."""
    assert Cascade("1.0.0", "1.1.0", 0.9) == read_cascade()
    assert {"1.0.0": 0.3, "1.1.0": 0.7} == read_ensemble().weights
