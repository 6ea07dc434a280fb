"""Settings of a service: environment PREDICTMESH_<SERVICE>_<FIELD>, else a YAML file, else the default."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from services.mesh.channel import MAX_MESSAGE_BYTES
from services.mesh.security.certificates import TlsFiles
from services.mesh.security.masking import masked
from services.mesh.security.own_token import OwnToken


class ServiceSettings(BaseSettings):
    """What every service can be told. A key that none of them knows is an error."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    service: ClassVar[str]

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and HTTP. 0.0.0.0 in a pod."""
    grpc_port: int = Field(ge=0, le=65_535)
    """Port for gRPC. 0 takes a free one."""
    http_port: int = Field(ge=0, le=65_535)
    """Port for /metrics, /healthz, /readyz and /statusz. 0 takes a free one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    otlp_endpoint: str = ""
    """Where spans go, http://HOST:PORT (OTLP over gRPC) or https://; OTEL_EXPORTER_OTLP_ENDPOINT says so too. Empty: no spans
    are made. Of https:// OTEL_EXPORTER_OTLP_CERTIFICATE has the authorities to trust."""
    trace_sample_ratio: float = Field(0.1, ge=0, le=1)
    """Fraction of calls traced, of those whose caller has not decided."""
    objects: str = "file://.predictmesh/objects"
    """Object storage for artifacts and snapshots: file:///DIR, s3://BUCKET/PREFIX, gs://..., az://..."""
    data_dir: Path
    """Directory of the service's own state and caches."""
    max_message_bytes: int = Field(MAX_MESSAGE_BYTES, ge=1024)
    """Largest message to take or send."""
    max_metadata_bytes: int = Field(16_384, ge=8192)
    """Largest metadata of a call to take, tokens among it."""
    max_connections: int = Field(4096, ge=1)
    """Connections to the gRPC port at most; further ones are closed. Each takes a file, of which a process has so many as
    `ulimit -n` says."""
    max_in_flight: int = Field(2048, ge=1)
    """Calls under way at most; more are refused at once with OVERLOADED."""
    max_connection_age_s: int = Field(300, ge=0)
    """Have clients connect again after about this time, so that they find new replicas by name; what is under way on the
    old connection ends there, however long it takes. 0: never."""
    drain_delay_s: float = Field(0, ge=0)
    """Time between NOT_SERVING and refusing calls, for load balancers to notice; up to 5 s longer while calls still come.
    About 5 s in Kubernetes, where pods are told to end within 30 s."""
    grace_s: float = Field(10, ge=0)
    """Time for calls under way to end when stopping."""

    tls_cert_file: Path | None = None
    """Certificate of this process in PEM, followed by those that it was issued by: the gRPC port is TLS, the HTTP port is
    not. Read again when it changes, as are the other two."""
    tls_key_file: Path | None = None
    """Its private key in PEM, without a password."""
    tls_ca_file: Path | None = None
    """Certificates in PEM of the authorities to trust. With them callers have to show a certificate, and calls to the other
    services are TLS, which show this process's and verify theirs: it has to name the host of the address called."""
    tls_client_certificates: bool = True
    """Whether callers have to show a certificate, where there is tls_ca_file. false: TLS, and who calls is told otherwise."""

    access_file: Path | None = None
    """YAML that says who may do what, by key, token or certificate; read again when it changes. Absent: everybody may do
    everything. `predictmesh keys create` makes keys for it, `predictmesh keys check` checks it."""

    @property
    def tls(self) -> TlsFiles | None:
        """What the gRPC port is TLS with; None where it is plain."""
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return TlsFiles(self.tls_cert_file, self.tls_key_file, self.tls_ca_file)

    @property
    def tls_for_calls(self) -> TlsFiles | None:
        """What calls to the other services are TLS with; None where they are plain."""
        return self.tls if self.tls_ca_file is not None else None

    @model_validator(mode="after")
    def _tls_files_go_together(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file are given together")
        if self.tls_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_ca_file is given with tls_cert_file and tls_key_file")
        if not self.tls_client_certificates and self.tls_ca_file is None:
            raise ValueError("tls_client_certificates: false does nothing without tls_ca_file")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - has no prefix
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments, then the environment, then the YAML file."""
        environment = EnvSettingsSource(settings_cls, env_prefix=cls.prefix())
        endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        shared = InitSettingsSource(settings_cls, {"otlp_endpoint": endpoint} if endpoint else {})
        return (init_settings, environment, shared, YamlConfigSettingsSource(settings_cls))

    @classmethod
    def prefix(cls) -> str:
        """Return what the service's environment variables begin with."""
        return f"PREDICTMESH_{cls.service.upper()}_"

    @classmethod
    def load(cls, config: Path | None = None) -> Self:
        """Read the settings; raises SettingsError naming every key that is unknown or wrong."""
        _refuse_unknown_variables(cls.prefix(), set(cls.model_fields))
        # The YAML source takes a missing file for an empty one.
        if config is not None and not config.is_file():
            raise SettingsError(f"{config}: no such file")

        class Located(cls):  # type: ignore[valid-type,misc]  # pydantic-settings takes the file's name from the class
            model_config = SettingsConfigDict(yaml_file=config)

        try:
            return Located()
        except ValidationError as error:
            raise SettingsError(_explained(error, cls.service)) from error
        except (yaml.YAMLError, OSError, ValueError) as error:
            raise SettingsError(f"{config or 'environment'}: {' '.join(str(error).split())}") from error

    def masked(self) -> dict[str, Any]:
        """Return every setting, secrets as asterisks."""
        shown = self.model_dump(mode="json")
        # A URL may have a password in it wherever there is one.
        return {name: masked(value) if isinstance(value, str) else value for name, value in shown.items()}


class CallingSettings(ServiceSettings):
    """What every service can be told that calls others."""

    token_file: Path | None = None
    """File with the key or token that calls to the other services show, where they ask who calls. Read again when it changes."""

    def own_token(self) -> OwnToken | None:
        """Return what calls show; None for nothing. Raises InvalidArgument."""
        return None if self.token_file is None else OwnToken(self.token_file)


class SettingsError(Exception):
    """Settings that cannot be used; the text names each and says why."""


T = TypeVar("T", bound=ServiceSettings)


def settings_from_arguments(settings: type[T]) -> T:
    """Read the settings by the process's arguments, `[--config FILE] [--print-settings]`; exits on an error."""
    import argparse  # noqa: PLC0415 - only the entry point needs it

    parser = argparse.ArgumentParser(description=f"The {settings.service} service of predictmesh.")
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--print-settings", action="store_true", help="print the settings, secrets masked, and exit")
    arguments = parser.parse_args()
    try:
        loaded = settings.load(arguments.config)
    except SettingsError as error:
        parser.exit(2, f"error: {error}\n")
    if arguments.print_settings:
        yaml.safe_dump(loaded.masked(), sys.stdout, sort_keys=False)
        parser.exit(0)
    return loaded


def _refuse_unknown_variables(prefix: str, fields: set[str]) -> None:
    unknown = [
        name for name in os.environ if name.startswith(prefix) and name.removeprefix(prefix).lower() not in fields
    ]
    if unknown:
        raise SettingsError(f"unknown variables {', '.join(sorted(unknown))}; --print-settings shows what there is")


def _explained(error: ValidationError, service: str) -> str:
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return f"settings of {service}: {'; '.join(faults)}"
