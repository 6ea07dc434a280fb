"""Images of the services as `deploy/images/build.sh` makes them, in a podman that all tests of this folder share."""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.base_images import import_bases
from tests.support.manifests import SERVICES
from tests.support.podman import Podman, podman
from tests.support.wheelhouse import needed, write_wheels
from tests.worlds.loop import share_loop

ROOT = Path(__file__).parents[3]
Build: TypeAlias = Callable[[str], str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the mesh."""
    share_loop(items, __file__)


@pytest.fixture(scope="session")
def engine() -> Iterator[Podman]:
    """An engine that has the images that ours are built on."""
    with podman() as opened:
        import_bases(opened)
        yield opened


@pytest.fixture(scope="session")
def build(engine: Podman) -> Build:
    """Builds the image of a service, offline of the packages that are installed here, unless it has; its name.

    The registry's has a bill of materials, too.
    """
    wheels = engine.directory / "wheels"
    wheels.mkdir()
    packages = [needed(ROOT / "deploy/images/requirements", service) for service in SERVICES]
    write_wheels(wheels, {name: package for each in packages for name, package in each.items()}.values())
    settings = wheels / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    offline = ["--pull=never", "--network=none", f"--volume={wheels}:/wheels:ro"]
    offline.append(f"--secret=id=pip.conf,src={settings}")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    @cache
    def built(service: str) -> str:
        env = engine.env | {"ENGINE": shlex.join(engine.command)} | ({} if service == "registry" else {"SYFT": ""})
        command = [str(ROOT / "deploy/images/build.sh"), service, "--", *offline]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return f"predictmesh/{service}:{version}"

    return built


@pytest.fixture(scope="session")
def images(build: Build) -> Mapping[str, str]:
    """The names of all images."""
    return {service: build(service) for service in SERVICES}
