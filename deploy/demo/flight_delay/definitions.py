"""What the demo declares in YAML: feature views, and what each model version reads.

The files are the one list of sources: the offline table, the graph and the registry all take it from them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

HERE = Path(__file__).parent
RECORDING = "replay.npz"
"""Name of the recording among the pipeline's outputs."""
_COUNTER = re.compile(r"(late|delay|weight)_(\d+)([hd])")
_UNIT_S = {"h": 3600, "d": 86400}
_SERVES_STALE = "serve"


@dataclass(frozen=True)
class View:
    """A feature view: key columns, FP32 fields, and what each field is where no row exists (NaN without a default)."""

    name: str
    keys: tuple[str, ...]
    fields: tuple[str, ...]
    defaults: NDArray[np.float32]
    served_for_s: float = math.inf
    """Age from which the view's policy no longer lets a row be read; infinite where it serves stale rows."""

    @property
    def half_lives(self) -> tuple[str, ...]:
        """Half-lives of the view's counters as written in field names, such as `6h`; empty if it has none."""
        return tuple(dict.fromkeys(match[2] + match[3] for match in map(_COUNTER.fullmatch, self.fields) if match))


@dataclass(frozen=True)
class Input:
    """One model input: a name, and one source per element of a row (`view:field`, `view.age` or `request:name`)."""

    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """A model version and the inputs it reads."""

    version: str
    inputs: tuple[Input, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources, in the order of the inputs."""
        return tuple(source for entry in self.inputs for source in entry.sources)


def seconds(text: str) -> int:
    """Seconds of a time in whole hours or days, such as `6h` or `7d`."""
    return int(text[:-1]) * _UNIT_S[text[-1]]


def read_views(path: Path = HERE / "resources.yaml") -> dict[str, View]:
    """Feature views of a resource file, by name."""
    documents = yaml.safe_load_all(path.read_text())
    return {document["name"]: _view(document) for document in documents if document["kind"] == "FeatureView"}


def read_versions(folder: Path = HERE / "versions") -> tuple[Version, ...]:
    """Versions of a folder, in the order of their file names."""
    return tuple(_version(yaml.safe_load(path.read_text())) for path in sorted(folder.glob("*.yaml")))


def _view(document: dict[str, Any]) -> View:
    fields = document["fields"]
    stale = document["policy"] == _SERVES_STALE
    return View(
        name=document["name"],
        keys=tuple(key["name"] for key in document["entity"]["keys"]),
        fields=tuple(field["name"] for field in fields),
        defaults=np.array([field.get("default", np.nan) for field in fields], np.float32),
        served_for_s=math.inf if stale else seconds(document["max_age"]),
    )


def _version(document: dict[str, Any]) -> Version:
    inputs = tuple(Input(entry["name"], tuple(entry["sources"])) for entry in document["inputs"])
    return Version(document["version"], inputs)
