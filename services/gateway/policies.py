"""What an endpoint does with predictions beside answering them, with its defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from services.gateway.splitting import sampled

if TYPE_CHECKING:
    from services.gateway.target import Target

# What is captured is drawn alike, so that it is kept too.
OUTCOME_SALT = "outcome"


@dataclass(frozen=True, slots=True)
class Shadow:
    """A target that is asked as well, for a share of the requests in percent, and compared.

    Two values agree when they differ by no more than `absolute_tolerance` plus `relative_tolerance` times the size of the
    one that was answered.
    """

    target: Target
    percent: float
    absolute_tolerance: float
    relative_tolerance: float


class OutcomeKind(Enum):
    """What a label is, 0 or 1, or a number; the value is the wire's number."""

    BINARY = 1
    REGRESSION = 2


@dataclass(frozen=True, slots=True)
class OutcomePolicy:
    """Which predictions are kept for their outcomes, and which element of which output is the score.

    Shares are percent of the predictions; of `sample_percent` of them the score is kept, of `capture_percent` of them, at
    most as many, the features too. `expire_ms` counts from the prediction.
    """

    output: str
    element: int
    kind: OutcomeKind
    sample_percent: float
    expire_ms: int
    capture_percent: float

    def keeps(self, prediction_id: str) -> bool:
        """Whether the prediction is kept for its outcomes."""
        return sampled(OUTCOME_SALT, prediction_id, self.sample_percent)

    def captures(self, prediction_id: str) -> bool:
        """Whether the features that were served are kept with it."""
        return self.capture_percent > 0 and sampled(OUTCOME_SALT, prediction_id, self.capture_percent)
