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
from tests.support.wheelhouse import closure, listed, needed

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "deploy/images"
REQUIREMENTS = IMAGES / "requirements"
SETTINGS: tuple[type[ServiceSettings], ...] = (GatewaySettings, FeaturesSettings, ModelSettings, RegistrySettings)
SERVICES = [settings.service for settings in SETTINGS]
OURS = {"services", "predictmesh"}
# Needed by redis, on the Python of the images only; and by tritonclient, for gRPC only.
OF_DEPENDENCIES = {"async-timeout", "packaging"}
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
    assert not _used(service) - set(needed(REQUIREMENTS, service))


@pytest.mark.parametrize("service", SERVICES)
def test_image_has_what_its_packages_need(service: str) -> None:
    """The list of a service is installed as it stands."""
    own = listed(REQUIREMENTS / f"{service}.txt")
    assert not set(closure(own)) - set(needed(REQUIREMENTS, service))


@pytest.mark.parametrize("service", SERVICES)
def test_image_holds_nothing_in_vain(service: str) -> None:
    """What nobody needs is carried to every node, and answers for flaws."""
    own = {canonicalize_name(requirement.name) for requirement in listed(REQUIREMENTS / f"{service}.txt")}
    assert not own - set(closure(map(Requirement, _used(service)))) - OF_DEPENDENCIES


def test_what_all_images_hold_is_used_by_all() -> None:
    """A package of one service would be in the images of all."""
    shared = {canonicalize_name(requirement.name) for requirement in listed(REQUIREMENTS / "every.txt")}
    for service in SERVICES:
        assert not shared - _used(service)


@pytest.mark.parametrize("service", SERVICES)
def test_image_has_the_versions_that_the_tests_ran_with(service: str) -> None:
    """Whatever a package needs in turn is in the lock: pip would take the newest of what is not."""
    locked = {canonicalize_name(Requirement(line).name) for line in (ROOT / "requirements.lock").read_text().split()}
    assert not set(needed(REQUIREMENTS, service)) - locked


@pytest.mark.parametrize("settings", SETTINGS, ids=SERVICES)
def test_image_states_the_ports_that_the_service_listens_on(settings: type[ServiceSettings]) -> None:
    """EXPOSE and the health check name the ports of the settings' defaults."""
    service = settings.service
    ports = [str(settings.model_fields[name].default) for name in ("grpc_port", "http_port")]
    stage = (IMAGES / "Dockerfile").read_text().split(f"FROM runtime AS {service}\n")[1].split("\n\n")[0]
    assert f"EXPOSE {' '.join(ports)}\n" in stage
    assert ", ".join(f'"{word}"' for word in ("services.mesh.healthcheck", service, ports[1])) in stage


def _used(service: str) -> set[str]:
    """Return the packages that the code of an image imports."""
    return {_package(module) for directory in ("mesh", service) for module in _imported(ROOT / "services" / directory)}


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
