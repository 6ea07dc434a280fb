"""Wheels of what is installed here, so that an image is built from the very packages of the tests, and offline."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What an installer writes, and what it makes of a package's own files.
_NOT_OF_THE_WHEEL = {"INSTALLER", "REQUESTED", "direct_url.json"}


def needed(requirements: Path, service: str) -> dict[str, Distribution]:
    """Return the packages of a service's image, by canonical name: what all need with what that needs, and its own list."""
    shared = closure(listed(requirements / "every.txt"))
    return shared | {name: distribution(name) for name in map(_name, listed(requirements / f"{service}.txt"))}


def listed(requirements: Path) -> list[Requirement]:
    """Return what a requirements file asks for."""
    lines = (line.partition("#")[0].strip() for line in requirements.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def closure(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return all that the requirements need, by canonical name; raises PackageNotFoundError for what is not installed."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = _name(requirement)
        found.setdefault(name, distribution(name))
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting.extend(_needed(found[name], extra))
    return found


def _name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)


def _needed(package: Distribution, extra: str) -> Iterator[Requirement]:
    for text in package.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None:
            if not extra:
                yield requirement
        elif requirement.marker.evaluate({"extra": extra}):
            yield requirement


def write_wheels(directory: Path, packages: Iterable[Distribution]) -> None:
    """Write a wheel of each package into `directory`; they are as installed, so without what `bin` got of them."""
    for package in packages:
        _write_wheel(directory, package)


def _write_wheel(directory: Path, package: Distribution) -> None:
    files = package.files or ()
    info = next(file.parent for file in files if file.name == "WHEEL" and file.parent.name.endswith(".dist-info"))
    metadata = package.read_text("WHEEL") or ""
    tags = [line.removeprefix("Tag: ").split("-") for line in metadata.splitlines() if line.startswith("Tag: ")]
    # Python's, the interface's, the platform's: each as all that the tags say of it.
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    with zipfile.ZipFile(directory / f"{info.name.removesuffix('.dist-info')}-{tag}.whl", "w") as wheel:
        for file in files:
            outside = file.parts[0] == ".." or "__pycache__" in file.parts
            if not outside and not (file.parent == info and file.name in _NOT_OF_THE_WHEEL):
                # Their times may lie before 1980, which a zip file cannot say.
                wheel.writestr(zipfile.ZipInfo(file.as_posix()), Path(str(file.locate())).read_bytes())
