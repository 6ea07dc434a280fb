"""A running `predictmesh up`, and a small model that is served there, all made by the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import succeed
from tests.support.onnx_models import linear
from tests.worlds.up import Up, up

DEFINITIONS = """\
kind: FeatureView
name: plane
entity: {name: plane, keys: [{name: tail, type: string}, {name: slot, type: int64}]}
fields:
- {name: late, type: FP32, default: 0.5}
- {name: pair, type: FP32, length: 2, default: [1, 1]}
---
kind: Model
name: delay
"""
ENDPOINT = """\
kind: Endpoint
name: delay
model: delay
route: {version: 1.0.0}
sample:
  entities: {tail: "N 1", slot: 7}
  features: {distance: 10}
"""
# The model adds its four inputs up and multiplies them.
VERSION = """\
kind: Version
model: delay
version: VERSION
inputs:
- {name: x, type: FP32, shape: [4], finite: true, sources: ["plane:late", "plane:pair", "request:distance"]}
outputs:
- {name: y, type: FP32, shape: [1]}
"""


@dataclass(frozen=True)
class World:
    """A running `up`, the option that finds it, and a directory for files."""

    up: Up
    data: Path
    files: Path

    @property
    def at(self) -> tuple[str, str]:
        """The option that makes commands find it."""
        return "--data", str(self.data)

    def file(self, name: str, text: str) -> Path:
        """Write a file and return its path."""
        path = self.files / name
        path.write_text(text)
        return path

    def version(self, version: str, scale: float) -> tuple[object, ...]:
        """Return the options of `models register` for a version that multiplies by `scale`."""
        model = self.files / f"{version}.onnx"
        model.write_bytes(linear(scale, 4).content)
        return "-f", self.file(f"{version}.yaml", VERSION.replace("VERSION", version)), "--artifact", f"onnx={model}"


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An `up` in which two versions of `delay` are served: 1.0.0 adds, 2.0.0 doubles the sum."""
    # What the machine has set would send commands and spans elsewhere.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREDICTMESH_", "OTEL_"))]:
            patch.delenv(name)
        directory, files = tmp_path_factory.mktemp("up"), tmp_path_factory.mktemp("files")
        with up(directory, "--log-level", "warning") as running:
            world = World(running, directory / "data", files)
            succeed("apply", "-f", world.file("definitions.yaml", DEFINITIONS), *world.at)
            for version, scale in (("1.0.0", 1), ("2.0.0", 2)):
                succeed("models", "register", *world.version(version, scale), "--wait", "30s", *world.at)
            succeed("apply", "-f", world.file("endpoint.yaml", ENDPOINT), *world.at)
            yield world
