"""What `kubectl kustomize` makes of deploy/kubernetes, and ways to look into it.

resources = rendered(Mix("gpu", ("mig",)))
[model] = resources.of("Deployment", name="model")
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from tests.support.kubectl import kubectl

ROOT = Path(__file__).parents[2] / "deploy" / "kubernetes"
SERVICES = ("gateway", "features", "model", "registry")
NAMESPACE = "predictmesh"
WORKLOADS = ("Deployment", "StatefulSet")
LIMIT_S = 60

Resource: TypeAlias = Any
"""A resource as YAML has it: nested dicts and lists."""
Labels: TypeAlias = Mapping[str, str]


@dataclass(frozen=True)
class Mix:
    """An overlay with components upon it, as users mix them."""

    overlay: str
    components: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "+".join((self.overlay, *self.components))


@dataclass(frozen=True)
class Template:
    """The pods that a workload makes."""

    workload: Resource
    labels: Labels
    spec: Any

    @property
    def name(self) -> str:
        """The workload's name."""
        return str(self.workload["metadata"]["name"])

    @property
    def containers(self) -> list[Any]:
        """All of them, those that start first as well."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def main(self) -> Any:
        """The container of the service."""
        return self.spec["containers"][0]

    @property
    def volumes(self) -> list[Any]:
        """What its containers may mount."""
        return list(self.spec.get("volumes", []))

    @property
    def ports(self) -> dict[str, int]:
        """Numbers of all named ports."""
        return {port["name"]: port["containerPort"] for each in self.containers for port in each.get("ports", [])}


class Resources(list[Resource]):
    """The resources of one rendering."""

    def of(self, *kinds: str, name: str = "") -> list[Resource]:
        """Return those of any of `kinds`, of one name if it is given."""
        return [each for each in self if each["kind"] in kinds and name in ("", each["metadata"]["name"])]

    def names(self, *kinds: str) -> set[str]:
        """Return the names of those of any of `kinds`."""
        return {str(each["metadata"]["name"]) for each in self.of(*kinds)}

    def templates(self) -> list[Template]:
        """Return the pods of every workload."""
        return [
            Template(each, each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"])
            for each in self.of(*WORKLOADS)
        ]

    def template(self, name: str) -> Template:
        """Return the pods of one workload."""
        return next(each for each in self.templates() if each.name == name)

    def selected(self, selector: Any) -> list[Template]:
        """Return the pods of this namespace that a label selector means; an empty one means all."""
        return [each for each in self.templates() if selects(selector, each.labels)]

    def chosen(self, selector: Any) -> set[str]:
        """Return the names of workloads whose pods a label selector means; a next release is one with the present one."""
        return {each.name.removesuffix("-next") for each in self.selected(selector)}

    def settings(self, service: str) -> dict[str, str]:
        """Return the variables of a service's container: those of its ConfigMaps, then its own."""
        container = self.template(service).main
        maps = {each["metadata"]["name"]: each["data"] for each in self.of("ConfigMap")}
        variables: dict[str, str] = {}
        for source in container["envFrom"]:
            variables |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
        for variable in container.get("env", []):
            variables[variable["name"]] = _value(variable, container["resources"])
        return variables


def overlays() -> list[str]:
    """Return the names of all overlays."""
    return sorted(each.parent.name for each in ROOT.glob("overlays/*/kustomization.yaml"))


def components() -> list[str]:
    """Return the names of all components, those within others too: `istio/next`."""
    folder = ROOT / "components"
    found = [each.parent.relative_to(folder) for each in folder.rglob("kustomization.yaml")]
    return sorted(
        str(each) for each in found if "kind: Component" in (folder / each / "kustomization.yaml").read_text()
    )


@cache
def rendered(mix: Mix) -> Resources:
    """Render a mix; where there is no kubectl the test is skipped, or fails under CI=true."""
    with tempfile.TemporaryDirectory() as directory:
        kustomization = {
            "namespace": NAMESPACE,
            "resources": [os.path.relpath(_overlay(mix.overlay), directory)],
            "components": [os.path.relpath(ROOT / "components" / name, directory) for name in mix.components],
        }
        Path(directory, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return build(Path(directory))


def build(directory: Path) -> Resources:
    """Render one directory."""
    command = [kubectl(), "kustomize", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return Resources(yaml.load_all(done.stdout, yaml.CSafeLoader))


def selects(selector: Any, labels: Labels) -> bool:
    """Say whether a label selector means what has these labels."""
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _meets(expression, labels) for expression in selector.get("matchExpressions", [])
    )


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Go through every mapping within a resource, itself first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(inner)


def _overlay(name: str) -> Path:
    return ROOT / name if name == "base" else ROOT / "overlays" / name


def _meets(expression: Any, labels: Labels) -> bool:
    present: bool = expression["key"] in labels
    match expression["operator"]:
        case "In":
            return present and labels[expression["key"]] in expression["values"]
        case "NotIn":
            return not present or labels[expression["key"]] not in expression["values"]
        case operator:
            return present is bool(operator == "Exists")


def _value(variable: Any, resources: Any) -> str:
    if "value" in variable:
        return str(variable["value"])
    kind, _, resource = variable["valueFrom"]["resourceFieldRef"]["resource"].partition(".")
    return str(resources[kind][resource])
