"""What `up` was told, and the processes of services that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from services.cli.supervision.access import Access
from services.cli.supervision.ports import Ports, at
from services.cli.tls import Tls
from services.cli.triton.installation import Installation

TopologyName = Literal["mesh", "monolith"]


@dataclass(frozen=True)
class Options:
    """What `up` was told. `redis_url` is empty for the embedded store, `otlp_endpoint` for the embedded receiver.

    `triton` is the one to start; if it is `triton_required`, `up` is not ready without it.
    `triton_otlp_url` is where its spans go unless to the embedded receiver, as OTLP over HTTP; empty for nowhere.
    `replicas` says how many processes a service has, by its name; a service that is not in it has one.
    `tls` is what every service shows and trusts; without it they are plain. `access` says who may call them.
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
    replicas: Mapping[str, int] = field(default_factory=dict)
    tls: Tls | None = None
    access: Access | None = None

    def instances(self, service: str) -> Sequence[Instance]:
        """Return the processes of a service, in the order of their numbers."""
        count = self.replicas.get(service, 1)
        return [Instance(service, number, self.ports.of(number)) for number in range(1, count + 1)]

    def target(self, service: str) -> str:
        """Return where callers find a service: the gRPC addresses of its processes, with commas between."""
        return ",".join(at(instance.grpc_port) for instance in self.instances(service))

    def directory(self, name: str) -> Path:
        """Return where the process of that name keeps what it has."""
        return (self.data / name).resolve()

    @property
    def tritons(self) -> Sequence[Instance]:
        """Return the Tritons to start: one for each process of the model service, which alone writes its repository."""
        if self.triton is None:
            return []
        return [Instance("triton", instance.number, instance.ports) for instance in self.instances("model")]


@dataclass(frozen=True)
class Instance:
    """One process of a service, by its number from 1, and the ports of all that have this number."""

    service: str
    number: int
    ports: Ports

    @property
    def name(self) -> str:
        """What its directory and its process are called; that of the first is the same however many there are."""
        return self.service if self.number == 1 else f"{self.service}-{self.number}"

    @property
    def grpc_port(self) -> int:
        """Where it answers gRPC."""
        return self.ports.grpc[self.service]

    @property
    def http_port(self) -> int:
        """Where it answers HTTP."""
        return self.ports.http[self.service]
