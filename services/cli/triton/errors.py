"""Why there is no Triton here."""

from __future__ import annotations

from services.cli.errors import Failure


class NoTriton(Failure):
    """Triton cannot be run or installed here. The message says why, and what would help."""
