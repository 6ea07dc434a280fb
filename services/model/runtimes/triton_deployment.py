"""What one version's content is in Triton: loaded, brought back when Triton has lost it, and taken down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from services.mesh.errors import MeshError
from services.model.runtimes.triton_control import TritonControl
from services.model.runtimes.triton_repository import TritonRepository

logger = logging.getLogger(__name__)


class Deployment:
    """The content of one version in Triton, however many of our versions share it."""

    def __init__(
        self, name: str, control: TritonControl, repository: TritonRepository, write: Callable[[], None]
    ) -> None:
        self.name = name
        self.users = 0
        self.steps: Callable[[], Sequence[Deployment]] = tuple
        """What an ensemble joins, as far as it is ours."""
        self.answers: Callable[[], Awaitable[bool]] = _unasked
        """Asks it for a row."""
        self._control = control
        self._repository = repository
        self._write = write
        self._up = False
        # Loads of one name never run twice at once, nor beside its end.
        self._lock = asyncio.Lock()

    async def bring_up(self) -> None:
        """Load it, unless it is loaded; Triton may have lost it since."""
        async with self._lock:
            if not self._up or not await self._control.ready(self.name):
                await self._load()
                self._up = True

    async def heal(self) -> None:
        """Load it if Triton has lost it, or if it does not answer although Triton takes it to be ready."""
        # An ensemble does not answer while one of them does not, and to load it anew would not mend those.
        for step in self.steps():
            await step.heal()
        async with self._lock:
            if await self._control.ready(self.name):
                if await self.answers():
                    return
                # A plain load of what is ready does nothing. Its end is not awaited: with a dead process it never comes.
                await self._control.unload(self.name)
            await self._load()
            logger.info("model loaded into Triton again", extra={"triton_model": self.name})

    async def take_down(self) -> None:
        """Unload it and delete its directory, if nobody uses it; the directory goes even while Triton is away."""
        async with self._lock:
            if self.users:
                return
            self._up = False
            for step in (self._unload, self._remove):
                try:
                    await step()
                except MeshError as error:
                    extra = {"triton_model": self.name, "reason": error.message}
                    logger.warning("model not cleared away; the next start will do it", extra=extra)

    async def _unload(self) -> None:
        await self._control.unload(self.name)
        if not await self._control.gone(self.name):
            logger.warning("model never ends to unload", extra={"triton_model": self.name})

    async def _remove(self) -> None:
        await to_the_end(asyncio.to_thread(self._repository.remove, self.name))

    async def _load(self) -> None:
        await to_the_end(asyncio.to_thread(self._write))
        await self._control.load(self.name)


async def to_the_end(work: Coroutine[object, object, None]) -> None:
    """Await work that must not be left halfway: a cancelled caller goes on when it is done."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _unasked() -> bool:
    return True
