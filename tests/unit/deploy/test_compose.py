"""deploy/compose.yaml: what it names is there, and each service can be told what it tells."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.features.settings import Settings as FeaturesSettings
from services.gateway.settings import Settings as GatewaySettings
from services.mesh.settings import ServiceSettings
from services.model.settings import Settings as ModelSettings
from services.registry.settings import Settings as RegistrySettings

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
CONTAINERS: dict[str, Any] = COMPOSE["services"]
SETTINGS: list[type[ServiceSettings]] = [GatewaySettings, FeaturesSettings, ModelSettings, RegistrySettings]
STATE = "/var/lib/predictmesh"


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.service)
def test_service_takes_its_settings(settings: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that it does not know would keep it from starting; those of hosts name containers and their ports."""
    container = CONTAINERS[settings.service]
    for name, value in container["environment"].items():
        monkeypatch.setenv(name, value)
    told = settings.load()
    for peer in {"registry", "features", "model"} & set(type(told).model_fields):
        host, _, port = str(getattr(told, peer)).removeprefix("dns:///").partition(":")
        (named,) = [each for each in SETTINGS if each.service == host]
        assert named.model_fields["grpc_port"].default == int(port)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.service)
def test_service_is_the_image_of_this_version(settings: type[ServiceSettings]) -> None:
    """What `make images` builds is what is run; whoever has not built it, builds the same."""
    version = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
    container = CONTAINERS[settings.service]
    assert f"predictmesh/{settings.service}:{version}" == container["image"]
    assert {"SERVICE": settings.service, "VERSION": version} == container["build"]["args"]
    assert (DEPLOY / container["build"]["context"] / container["build"]["dockerfile"]).is_file()
    assert container["read_only"]


def test_what_is_named_is_there() -> None:
    """Volumes, files, containers and what Prometheus scrapes."""
    assert set(COMPOSE["volumes"]) == {source for source in _sources() if not source.startswith(".")}
    assert all((DEPLOY / source).exists() for source in _sources() if source.startswith("."))
    assert {name for container in CONTAINERS.values() for name in container.get("depends_on", [])} <= set(CONTAINERS)
    scraped = yaml.safe_load((DEPLOY / "telemetry/prometheus.yaml").read_text())["scrape_configs"]
    names = {name for job in scraped for config in job.get("dns_sd_configs", []) for name in config["names"]}
    assert {settings.service for settings in SETTINGS} <= names <= set(CONTAINERS)


def test_volumes_lie_where_the_image_lets_its_user_write() -> None:
    """Docker gives a new volume the owner of the directory that it covers, which is root where the image has none."""
    made = {f"{STATE}/{name}" for name in ("objects", "triton")} | {STATE}
    dockerfile = (DEPLOY / "images/Dockerfile").read_text()
    assert "mkdir -p /state/objects /state/triton " in dockerfile
    for settings in SETTINGS:
        assert {volume.split(":")[1] for volume in CONTAINERS[settings.service]["volumes"]} <= made


def test_nobody_outside_of_the_machine_gets_in() -> None:
    """Ports are published on loopback."""
    published = [port for container in CONTAINERS.values() for port in container.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def _sources() -> list[str]:
    return [volume.split(":")[0] for container in CONTAINERS.values() for volume in container.get("volumes", [])]
