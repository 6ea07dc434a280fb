"""Files of YAML documents, each one resource."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from predictmesh.registry.v1.model_pb2 import Signature, Version
from predictmesh.registry.v1.registry_service_pb2 import Resource
from predictmesh.registry.v1.release_pb2 import ReleasePlan
from services.cli.errors import Mistake
from services.cli.resources.cursor import Cursor, Document, ResourceError
from services.cli.resources.endpoints import read_endpoint
from services.cli.resources.golden import Golden, read_golden
from services.cli.resources.models import read_model
from services.cli.resources.plans import read_plan
from services.cli.resources.versions import add_report, read_version
from services.cli.resources.views import read_view

_READERS: dict[str, Callable[[Cursor], Resource]] = {
    "FeatureView": lambda document: Resource(feature_view=read_view(document)),
    "Model": lambda document: Resource(model=read_model(document)),
    "Endpoint": lambda document: Resource(endpoint=read_endpoint(document)),
}
_KINDS = (*_READERS, "Version")


class _Loader(yaml.CSafeLoader):
    """Reads plain YAML, and refuses a key that stands twice in one mapping instead of taking the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Return the mapping. YAMLError if a key stands twice."""
        mapping: dict[object, object] = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice in one mapping", node.start_mark)
        return mapping


# YAML 1.1 takes 1e-6 for text, for want of a dot; JSON is full of such numbers.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def read_resources(paths: Sequence[Path]) -> list[tuple[Document, Resource]]:
    """Return the resources of all files in order. ResourceError or Mistake if one cannot be read."""
    found = []
    for document, kind in _documents(paths):
        if kind == "Version":
            options = "" if "graph" in document.members() else " --artifact onnx=FILE"
            document.fail(
                f"a version is registered, not applied: predictmesh models register -f {document.document.file}{options}"
            )
        found.append((document.document, _READERS[kind](document)))
    if not found:
        raise Mistake(f"no documents in {', '.join(map(str, paths))}")
    return found


def read_version_file(path: Path) -> tuple[str, Version]:
    """Return the model's name and the version of a file with that one document."""
    documents = list(_documents([path]))
    if len(documents) != 1 or documents[0][1] != "Version":
        raise Mistake(f"{path} must hold one document of kind Version and nothing else")
    return read_version(documents[0][0])


def read_report_file(path: Path, version: Version) -> None:
    """Add to `version` what the file of a training run (YAML or JSON) says of it."""
    add_report(_only(path), version)


def read_golden_file(path: Path, signature: Signature) -> Golden:
    """Return the golden set that the file (YAML or JSON), one document, records for a version of this signature."""
    return read_golden(_only(path), signature)


def read_plan_file(path: Path) -> ReleasePlan:
    """Return the plan of a release that the file, one document, makes."""
    return read_plan(_only(path))


def _only(path: Path) -> Cursor:
    documents = _load(path)
    if len(documents) != 1:
        raise Mistake(f"{path} must hold one document")
    return Cursor(documents[0], Document(str(path), 1))


def _documents(paths: Sequence[Path]) -> Iterator[tuple[Cursor, str]]:
    for path in paths:
        for number, value in enumerate(_load(path), 1):
            # An empty document is what a `---` at the start or the end leaves.
            if value is not None:
                document = Cursor(value, Document(str(path), number))
                members = document.members()
                if "kind" not in members:
                    document.fail(f"kind is missing: one of {', '.join(_KINDS)}")
                yield document, members["kind"].choice({kind: kind for kind in _KINDS})


def _load(path: Path) -> list[object]:
    try:
        with path.open(encoding="utf-8") as file:
            return list(yaml.load_all(file, _Loader))
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        _explain(path, error)
    except ValueError as error:
        # A number of thousands of digits, a date that no calendar has.
        raise ResourceError(f"{path}: {error}") from error


def _explain(path: Path, error: yaml.YAMLError) -> NoReturn:
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    raise ResourceError(f"{path}{line}: {getattr(error, 'problem', None) or error}") from error
