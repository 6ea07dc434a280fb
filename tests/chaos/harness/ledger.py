"""What has been written to each rider, so that every answer can be checked while writes go on.

The value of rider n after its write number s is n * SCALE + s, exact in FP32, and its event is s milliseconds after the
first one. So an answer gives away whose value it is, which write it is of, and how old it must say that it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

RIDERS = 100
SCALE = 100_000
# What a view without a value gives, and what the ladder's last step gives: no rider has them.
DEFAULT = -1.0
STATIC = -2.0


@dataclass
class Ledger:
    """By rider the number of the last write that was sent, and of the last one that was acknowledged."""

    first_event_us: int = field(default_factory=lambda: int((time.time() - 3600) * 1e6))
    sent: list[int] = field(default_factory=lambda: [0] * RIDERS)
    acknowledged: list[int] = field(default_factory=lambda: [0] * RIDERS)

    def next_writes(self, riders: Sequence[int]) -> list[int]:
        """Number the next write of each rider, and note that it is sent."""
        for rider in riders:
            self.sent[rider] += 1
        return [self.sent[rider] for rider in riders]

    def acknowledge(self, riders: Sequence[int], writes: Sequence[int]) -> None:
        """Note that these writes were acknowledged."""
        for rider, write in zip(riders, writes, strict=True):
            self.acknowledged[rider] = write

    def event_us(self, write: int) -> int:
        """When the event of a write was, microseconds since the epoch."""
        return self.first_event_us + write * 1000

    @staticmethod
    def value(rider: int, write: int) -> float:
        """What a write stores."""
        return float(rider * SCALE + write)

    def write_of(self, rider: int, value: float) -> int | None:
        """The write that a value is of; None where no write to this rider can have made it."""
        write = int(value) - rider * SCALE
        return write if value == int(value) and 0 <= write <= self.sent[rider] else None
