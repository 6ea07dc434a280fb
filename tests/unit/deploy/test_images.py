"""What images are made of: each service's own packages, all of them locked, and a Dockerfile that says where it listens."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.features.settings import Settings as FeaturesSettings
from services.gateway.settings import Settings as GatewaySettings
from services.mesh.settings import ServiceSettings
from services.model.settings import Settings as ModelSettings
from services.registry.settings import Settings as RegistrySettings
from tests.support.wheelhouse import closure, listed

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "deploy/images"
SETTINGS: tuple[type[ServiceSettings], ...] = (GatewaySettings, FeaturesSettings, ModelSettings, RegistrySettings)
SERVICES = [settings.service for settings in SETTINGS]
OURS = {"services", "predictmesh"}
# Asked for by other packages, but not on the Python of these tests.
OF_DEPENDENCIES = {"async-timeout"}
# Who brings the modules under roots that several packages share.
SHARED_ROOTS = {
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "opentelemetry": "opentelemetry-api",
    "opentelemetry.context": "opentelemetry-api",
    "opentelemetry.exporter": "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.trace": "opentelemetry-api",
    "opentelemetry.util": "opentelemetry-api",
}


@pytest.mark.parametrize("service", SERVICES)
def test_image_has_the_packages_that_its_code_imports(service: str) -> None:
    """A module that some function imports late is in none of the quick tests of an image, and would be missed in use."""
    present = closure(listed(IMAGES / f"requirements/{service}.txt"))
    lacking = {
        module
        for directory in ("mesh", service)
        for module in _imported(ROOT / "services" / directory)
        if _package(module) not in present
    }
    assert not lacking


@pytest.mark.parametrize("service", SERVICES)
def test_image_asks_for_nothing_that_its_code_does_not_import(service: str) -> None:
    """What an image holds for nothing is carried to every node, and answers for flaws that nobody needed."""
    used = {_package(module) for directory in ("mesh", service) for module in _imported(ROOT / "services" / directory)}
    asked = {canonicalize_name(requirement.name) for requirement in listed(IMAGES / f"requirements/{service}.txt")}
    assert not asked - used - OF_DEPENDENCIES


@pytest.mark.parametrize("service", SERVICES)
def test_image_has_the_versions_that_the_tests_ran_with(service: str) -> None:
    """Whatever a package needs in turn is in the lock: pip would take the newest of what is not."""
    locked = {canonicalize_name(Requirement(line).name) for line in (ROOT / "requirements.lock").read_text().split()}
    assert not set(closure(listed(IMAGES / f"requirements/{service}.txt"))) - locked


@pytest.mark.parametrize("settings", SETTINGS, ids=SERVICES)
def test_image_states_the_ports_that_the_service_listens_on(settings: type[ServiceSettings]) -> None:
    """EXPOSE and the health check name the ports of the settings' defaults."""
    service = settings.service
    ports = [str(settings.model_fields[name].default) for name in ("grpc_port", "http_port")]
    stage = (IMAGES / "Dockerfile").read_text().split(f"FROM runtime AS {service}\n")[1].split("\n\n")[0]
    assert f"EXPOSE {' '.join(ports)}\n" in stage
    assert ", ".join(f'"{word}"' for word in ("services.mesh.healthcheck", service, *ports)) in stage


def _package(module: str) -> str:
    """Return the package that brings a module, if any does."""
    root = module.partition(".")[0]
    return SHARED_ROOTS.get(module, "") if root in {"google", "opentelemetry"} else _roots().get(root, "")


@cache
def _roots() -> dict[str, str]:
    """Return the package of each module that can be imported, by the first part of its name."""
    return {root: canonicalize_name(names[0]) for root, names in packages_distributions().items()}


@cache
def _imported(directory: Path) -> frozenset[str]:
    """Return the modules of others that the code of a directory imports, by as much of their names as tells whose they are."""
    modules = {module for path in directory.rglob("*.py") for module in _imports(ast.parse(path.read_text()))}
    others = {module for module in modules if module.partition(".")[0] not in sys.stdlib_module_names | OURS}
    return frozenset(".".join(module.split(".")[:2]) for module in others)


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
