"""The schemas of Kubernetes, and of custom resources where their definitions (CRDs) are on this machine.

The definitions are other projects' files, and not among ours: PREDICTMESH_CRDS names a directory of them, else `shared/crds`
beside the checkout is looked at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from kubernetes_validate import utils
from referencing import Registry
from referencing import Resource as Schema

from tests.support.manifests import Resource

# The oldest release whose sidecars the GPU pods need, and the newest whose schemas there are.
RELEASES = ("1.29.0", utils.latest_version())
CRDS = Path(os.environ.get("PREDICTMESH_CRDS") or Path(__file__).parents[3] / "shared" / "crds")
# The one rule of CEL that is understood here, of the many that definitions have.
_LONG_ENOUGH = "duration(self) >= duration('1ms')"
_UNITS = {"h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)")
_CORE = ("v1", "apps/", "autoscaling/", "batch/", "networking.k8s.io/", "policy/", "rbac.authorization.k8s.io/")


def is_core(resource: Resource) -> bool:
    """Say whether Kubernetes itself has the kind."""
    return str(resource["apiVersion"]).startswith(_CORE)


def core_faults(resource: Resource, release: str) -> list[str]:
    """Return what a release of Kubernetes would refuse of a resource, unknown fields as well."""
    return _core_faults(json.dumps(resource), release)


def custom_faults(resource: Resource) -> list[str] | None:
    """Return what the definition of its kind refuses of a resource; None where the definition is not there."""
    validator = _custom().get((resource["apiVersion"], resource["kind"]))
    return None if validator is None else _faults(validator, resource)


@cache
def _core_faults(resource: str, release: str) -> list[str]:
    """Most resources are the same in every overlay."""
    read = json.loads(resource)
    return _faults(_core(release, read["apiVersion"], read["kind"]), read)


def _faults(validator: Validator, resource: Resource) -> list[str]:
    return [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in validator.iter_errors(resource)]


@cache
def _core(release: str, api_version: str, kind: str) -> Draft202012Validator:
    group, _, version = api_version.rpartition("/")
    name = "-".join([kind.lower(), *([group.partition(".")[0]] if group else []), version])
    folder = f"kubernetes-json-schema/v{release}-local-strict"
    schema = utils.schema_contents(f"{folder}/{name}.json", release)
    return Draft202012Validator(schema, registry=_definitions(folder, release))


@cache
def _definitions(folder: str, release: str) -> Registry[Any]:
    definitions = Schema.from_contents(utils.schema_contents(f"{folder}/_definitions.json", release))
    registry: Registry[Any] = definitions @ Registry()
    return registry


@cache
def _custom() -> Mapping[tuple[str, str], Validator]:
    return dict(_read(CRDS)) if CRDS.is_dir() else {}


def _read(directory: Path) -> Iterator[tuple[tuple[str, str], Validator]]:
    definition = extend(Draft202012Validator, {"x-kubernetes-validations": _broken})
    for path in directory.glob("*.yaml"):
        spec = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
            yield (f"{spec['group']}/{version['name']}", spec["names"]["kind"]), definition(schema)


def _broken(_: Validator, rules: list[Any], value: Any, __: Any) -> Iterator[ValidationError]:
    """Find the rules that a value breaks."""
    for each in rules:
        if each["rule"] == _LONG_ENOUGH and _duration(value) < timedelta(milliseconds=1):
            yield ValidationError(f"{value}: {each['message']}")


def _duration(text: str) -> timedelta:
    """Read a duration as Go writes it: 1m30s."""
    assert re.fullmatch(f"({_PART.pattern})+", text), text
    return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in _PART.findall(text)), timedelta())


def _strict(schema: Any) -> Any:
    """Return a structural schema of Kubernetes as JSON Schema, which refuses fields that it does not name."""
    if not isinstance(schema, dict):
        return schema
    strict = _with_bounds({key: _inner(key, value) for key, value in schema.items()})
    if strict.pop("x-kubernetes-int-or-string", False):
        strict.pop("type", None)
        strict["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_ended = strict.pop("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in strict and not open_ended:
        strict.setdefault("additionalProperties", False)
    return {"anyOf": [{"type": "null"}, strict]} if strict.pop("nullable", False) else strict


def _inner(key: str, value: Any) -> Any:
    if key in ("properties", "patternProperties"):
        return {name: _strict(schema) for name, schema in value.items()}
    return _strict(value) if key in ("items", "additionalProperties") else value


def _with_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Give bounds as JSON Schema does: OpenAPI says of a bound, yes or no, whether it is itself excluded."""
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if schema.get(exclusive) is True:
            schema[exclusive] = schema.pop(bound)
        elif schema.get(exclusive) is False:
            del schema[exclusive]
    return schema
