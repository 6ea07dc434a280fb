"""What a service shows to those that it calls, and what it makes of it when they do not let it in."""

from __future__ import annotations

import logging
from pathlib import Path

from services.mesh.admission.allowance import Allowance
from services.mesh.context import current
from services.mesh.errors import InvalidArgument, MeshError, UpstreamUnavailable
from services.mesh.security.caller import AUTHORIZATION
from services.mesh.security.errors import ABOUT_CALLERS
from services.mesh.security.watching import stamp

logger = logging.getLogger(__name__)
_REASONS = frozenset(error.reason for error in ABOUT_CALLERS)
_told = Allowance(10)


class OwnToken:
    """The key or token in a file, which is read again when the file has changed."""

    def __init__(self, file: Path) -> None:
        """Read the file; raises InvalidArgument."""
        self._file = file
        self._stamp = stamp(file)
        self._metadata = _metadata(file)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call that shows the token; that of before while the file cannot be used."""
        found = stamp(self._file)
        if found != self._stamp:
            self._stamp = found
            try:
                self._metadata = _metadata(self._file)
            except InvalidArgument as error:
                logger.warning("the token of before is used on", extra={"cause": error.message})
        return self._metadata


def _metadata(file: Path) -> tuple[tuple[str, str], ...]:
    return ((AUTHORIZATION, f"Bearer {read_token(file)}"),)


def read_token(file: Path) -> str:
    """Return what a file holds, which may end with a new line; raises InvalidArgument, which does not tell it."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f"the token cannot be read from {file}: {getattr(error, 'strerror', 'no text')}"
        ) from None
    if not token or not token.isprintable() or " " in token:
        raise InvalidArgument(f"{file} holds no token, or more than one")
    return token


def of_ours(error: MeshError) -> MeshError:
    """Return what the failed call of another service is to who has called this one.

    That this one's credentials are not taken is no matter of his. Outside of a call it is what it was.
    """
    if error.reason not in _REASONS or current() is None:
        return error
    if _told.left() >= 1:
        _told.use()
        logger.error("another service does not let this one in", extra={"cause": error.message, "reason": error.reason})
    return UpstreamUnavailable("a service behind this one does not let it in; the log has why")
