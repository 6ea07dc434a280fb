"""Adam with decoupled weight decay, in place on float32 arrays: the step of every weight costs as much as its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

RATE = 1e-3
WARM_UP = 0.1
DECAY = 1e-2
FIRST, SECOND = 0.9, 0.999
EPSILON = 1e-8


class Adam:
    """Updates `parameters` for a known number of steps: the rate rises over the first tenth and then falls to 0."""

    def __init__(self, parameters: Sequence[Array], steps: int) -> None:
        self._parameters, self._steps, self._taken = parameters, steps, 0
        self._means = [np.zeros_like(each) for each in parameters]
        self._squares = [np.zeros_like(each) for each in parameters]

    def step(self, gradients: Sequence[Array]) -> None:
        """Take one step. The gradients, in the order of the parameters, are used up."""
        self._taken += 1
        rate = _rate(self._taken / self._steps)
        # Both averages begin at 0, and are too small at first.
        scale = rate * math.sqrt(1 - SECOND**self._taken) / (1 - FIRST**self._taken)
        for parts in zip(self._parameters, self._means, self._squares, gradients, strict=True):
            _update(*parts, scale=scale, kept=1 - rate * DECAY)


def _update(parameter: Array, mean: Array, square: Array, gradient: Array, *, scale: float, kept: float) -> None:
    mean += (1 - FIRST) * (gradient - mean)
    np.multiply(gradient, gradient, out=gradient)
    square += (1 - SECOND) * (gradient - square)
    # From here on the gradient's memory holds the step.
    np.sqrt(square, out=gradient)
    gradient += EPSILON
    np.divide(mean, gradient, out=gradient)
    gradient *= scale
    if parameter.ndim > 1:
        parameter *= kept
    parameter -= gradient


def _rate(progress: float) -> float:
    if progress < WARM_UP:
        return RATE * progress / WARM_UP
    return RATE * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2
