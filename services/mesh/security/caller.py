"""Who calls, as far as it has been proven, and what it may do."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

AUTHORIZATION = "authorization"
"""The metadata that shows a key or a token: `Bearer KEY-OR-TOKEN`."""
MAX_NAME = 127
"""Characters of the longest `[namespace/]name`."""
PATTERN = re.compile(rf"[a-z0-9_*/-]{{1,{MAX_NAME}}}")


class Role(enum.StrEnum):
    """What somebody may do; `rules.py` says which methods that is. Whoever has several roles may do what either allows."""

    CALLER = "caller"
    """Ask endpoints, and say what came true."""
    RELEASER = "releaser"
    """Change definitions, register and release versions."""
    WRITER = "writer"
    """Write feature values."""
    OPERATOR = "operator"
    """Everything: also delete, force, restore."""
    SERVICE = "service"
    """Call as one service of the mesh calls another."""


class Names:
    """The names, `[namespace/]name`, that some patterns match: `*` stands for any text without `/`, and alone for all names."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._expression = re.compile("|".join(map(_expression, patterns)) or "(?!)")

    def __contains__(self, name: str) -> bool:
        # Requests bring texts of any length.
        return len(name) <= MAX_NAME and self._expression.fullmatch(name) is not None


def _expression(pattern: str) -> str:
    if pattern == "*":
        return ".*"
    first, *others = map(re.escape, pattern.split("*"))
    if not others:
        return first
    *middle, last = others
    # What is between two * is taken where it comes first, for good: no name makes this try all ways to part it.
    found = "".join(f"(?>[^/]*?{part})" for part in middle)
    return f"{first}{found}[^/]*{last}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has shown a key, a token or a certificate.

    `names` limits it to endpoints, and definitions, of such names; None: it is not limited. After `until`, in seconds since
    the epoch, its token is worth nothing.
    """

    name: str
    roles: frozenset[Role]
    names: Names | None = None
    until: float = math.inf

    def may_use(self, name: str) -> bool:
        """Return whether the caller is not kept from what has this name."""
        return self.names is None or name in self.names
