"""One process of `up`: started on a leash, started again when it dies, stopped with a limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.errors import Failure, Mistake
from services.cli.supervision import leash
from services.cli.supervision.probes import Probe

logger = logging.getLogger(__name__)
_LEASH = str(Path(leash.__file__))
_UNUSABLE = 2  # the exit code of a service that cannot use its settings or ports


@dataclass(frozen=True)
class Program:
    """What to run. `env` is all of its environment; `roles` are the services and servers that it is, one of several perhaps.

    Nobody waits for one that is `optional`, and its end is never the end of the others. `tidy` is called while no process
    of it runs: before each start, and after the end.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    probe: Probe
    roles: Sequence[str]
    optional: bool = False
    tidy: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Backoff:
    """Seconds before a process is started again: doubled each time, and forgotten once it has lived `forget_s`.

    One that ends with status 0 was asked to: it has not failed, and the next waits no longer for it.
    """

    first_s: float = 0.2
    most_s: float = 30.0
    forget_s: float = 30.0


@dataclass
class Child:
    """A program and the process that runs it. `changed` is called when a process takes the place of a dead one."""

    program: Program
    changed: Callable[[], None]
    backoff: Backoff = field(default_factory=Backoff)
    was_ready: bool = False
    _process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Return the id of the process, or None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process."""
        await asyncio.to_thread(self.program.tidy)
        arguments = [sys.executable, "-IS", _LEASH, str(os.getpid()), *self.program.command]
        self._process = await asyncio.create_subprocess_exec(
            *arguments,
            env=dict(self.program.env),
            stdin=asyncio.subprocess.DEVNULL,
            # stdout belongs to the readiness line.
            stdout=sys.stderr.fileno(),
            # A group of its own: Ctrl-C in the terminal must reach the supervisor alone, which stops all in order.
            process_group=0,
        )

    async def keep(self) -> None:
        """Start the process again whenever it ends, until cancelled. Failure if one that is waited for was never ready.

        A Mistake where its exit code says that its settings cannot be used.
        """
        delay_s = self.backoff.first_s
        while True:
            started = time.monotonic()
            status = await self._end()
            if not self.was_ready and not self.program.optional:
                kind = Mistake if self._process is not None and self._process.returncode == _UNUSABLE else Failure
                raise kind(f"{self.program.name} ended with {status} before it was ready; its output is above")
            asked = self._process is not None and self._process.returncode == 0
            if asked or time.monotonic() - started > self.backoff.forget_s:
                delay_s = self.backoff.first_s
            level = logging.INFO if asked else logging.ERROR
            logger.log(level, "%s ended with %s; starting it again in %g s", self.program.name, status, delay_s)
            await asyncio.sleep(delay_s)
            if not asked:
                delay_s = min(delay_s * 2, self.backoff.most_s)
            await self.start()
            self.changed()

    async def stop(self, limit_s: float) -> None:
        """End the process with SIGTERM; with SIGKILL when it has not ended after `limit_s` seconds. Cancel `keep` first."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(limit_s):
                await self._end()
        except TimeoutError:
            logger.warning("%s did not stop within %g s; killing it", self.program.name, limit_s)
            self.kill()
            await self._end()
        await asyncio.to_thread(self.program.tidy)

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            # It may have ended since.
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _end(self) -> str:
        """Return how the process ended, when it has; what it leaves behind is killed."""
        if self._process is None:
            return "no process"
        ended_before = self._process.returncode is not None
        code = await self._process.wait()
        if not ended_before:
            # Its own processes are of its group. They should end with it, but one that waits for it may do so for ever.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
