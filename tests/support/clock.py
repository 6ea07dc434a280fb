"""A wall clock that a test can set, for processes that it starts: what they see of the time of day jumps, and nothing else.

clock = Clock.made(tmp_path)
process = subprocess.Popen(..., env={**os.environ, **clock.variables})
clock.set(3600)     # an hour ahead, from the next reading on
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.parts import program

SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Clock:
    """A library to preload, and the file that holds how far the clock is ahead, nanoseconds."""

    library: Path
    offset: Path

    @classmethod
    def made(cls, directory: Path) -> Clock:
        """Compile one in `directory`; without a C compiler the test is skipped, or fails under CI=true."""
        library, offset = directory / "clock.so", directory / "clock.offset"
        command = [program("cc"), "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True)
        offset.write_bytes(struct.pack("q", 0))
        return cls(library, offset)

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of a process that goes by it."""
        return {"LD_PRELOAD": str(self.library), "CLOCK_OFFSET_FILE": str(self.offset)}

    def set(self, ahead_s: float) -> None:
        """Set it so many seconds ahead of the kernel's."""
        # In place: processes have the file mapped.
        with self.offset.open("r+b") as file:
            file.write(struct.pack("q", int(ahead_s * 1e9)))
