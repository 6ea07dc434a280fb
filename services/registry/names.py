"""The rules for names."""

from __future__ import annotations

import re

from services.mesh.selectors import is_version
from services.registry.errors import InvalidDefinition, InvalidName
from services.registry.faults import Faults

PART = r"[a-z0-9][a-z0-9_-]{0,62}"
_QUALIFIED = re.compile(rf"({PART}/)?{PART}")
_PART = re.compile(PART)
_COLUMN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
# Begins with a letter, so that no version number or range can be meant.
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_TENSOR_NAME_BYTES = 256


def check_name(name: str, path: str, faults: Faults) -> None:
    """A resource: `[namespace/]name`."""
    if not _QUALIFIED.fullmatch(name):
        faults.add(
            InvalidName, path, f"{shown(name)} is not [namespace/]name, each of a-z, 0-9, _ and -, at most 63 long"
        )


def check_part(name: str, path: str, faults: Faults) -> None:
    """A name without a namespace: an entity, a runtime."""
    if not _PART.fullmatch(name):
        faults.add(InvalidName, path, f"{shown(name)} is not a name of a-z, 0-9, _ and -, at most 63 long")


def check_column(name: str, path: str, faults: Faults) -> None:
    """A key column, a field or a request-time feature; letters of either case, as tables have them."""
    if not _COLUMN.fullmatch(name):
        faults.add(InvalidName, path, f"{shown(name)} is not a name of letters, 0-9, _ and -, at most 63 long")


def check_alias(name: str, path: str, faults: Faults) -> None:
    """An alias of a version."""
    if not _ALIAS.fullmatch(name):
        faults.add(InvalidName, path, f"{shown(name)} is not a letter followed by a-z, 0-9, _ and -, at most 63 long")


def check_tensor_name(name: str, path: str, faults: Faults) -> None:
    """An input or output: whatever the artifact calls it."""
    if not name or not name.isprintable() or len(name.encode()) > _MAX_TENSOR_NAME_BYTES:
        faults.add(InvalidName, path, f"a name is 1 to {_MAX_TENSOR_NAME_BYTES} bytes of printable text")


def check_version(version: str, path: str, faults: Faults) -> None:
    """A semantic version without pre-release and build."""
    if not is_version(version):
        faults.add(InvalidName, path, f"{shown(version)} is not MAJOR.MINOR.PATCH, such as 1.0.0")


def is_sha256(text: str) -> bool:
    """Whether the text is a SHA-256 in lower-case hex."""
    return bool(_SHA256.fullmatch(text))


def check_unique(names: list[str], path: str, attribute: str, faults: Faults) -> None:
    """Each of the names stands once; `path[i].attribute` is where the i-th comes from."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            faults.add(InvalidDefinition, f"{path}[{index}].{attribute}", f"{shown(name)} is there twice")
        seen.add(name)


def shown(name: str) -> str:
    """A name as an error shows it: a very long one is cut."""
    return repr(name if len(name) <= 80 else name[:77] + "...")
