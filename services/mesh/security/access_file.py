"""The access file: who may do what. It holds no secrets: of a key its SHA-256, of an issuer where its public keys are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.mesh.security.caller import PATTERN, Role


def _pattern(text: str) -> str:
    if not PATTERN.fullmatch(text):
        raise ValueError("is no [namespace/]name of a-z, 0-9, _ and -, in which * stands for text without /")
    return text


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError("is not printable")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
Label = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_shown)]
Roles = Annotated[tuple[Role, ...], Field(min_length=1)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Key(_Entry):
    """An API key, as `predictmesh keys create` prints it."""

    name: Label
    """Who has the key; stands in logs."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the key, hex."""
    roles: Roles
    """What the key is good for."""
    endpoints: Patterns | None = None
    """Names, or patterns with *, that the key is good for, of endpoints and of all else that has a name. Absent: all."""
    expires: AwareDatetime | None = None
    """When the key becomes worthless. Absent: never."""


class Peer(_Entry):
    """Somebody with a client certificate that the service has verified."""

    identity: Label
    """The URI in the certificate, such as spiffe://cluster.local/ns/predictmesh/sa/gateway; without one its first DNS name."""
    roles: Roles
    """What the certificate is good for."""
    endpoints: Patterns | None = None
    """As of a key."""


class Issuer(_Entry):
    """Who signs tokens (JWT), and how they are read."""

    issuer: Label
    """What `iss` says, exactly."""
    audience: Label
    """What `aud` names, among others perhaps."""
    jwks: str = Field(min_length=1)
    """Where the issuer's public keys are: https://..., or a file. http:// only on this machine."""
    name_claim: Label = "sub"
    """The claim that says who it is; stands in logs."""
    roles_claim: Label = "roles"
    """The claim that holds roles: a list, or text with spaces between. `a.b` is b in a."""
    role_names: dict[str, Role] | None = None
    """What the issuer calls the roles, such as {ml-oncall: operator}. Absent: as here. Other values mean nothing."""
    default_roles: tuple[Role, ...] = ()
    """Roles that every token has."""
    endpoints_claim: Label | None = None
    """The claim that holds names or patterns, as `endpoints` of a key. A token without it may use none. Absent: all may."""
    leeway_s: float = Field(30, ge=0, le=300)
    """How far the clocks may differ."""
    refresh_s: float = Field(300, ge=1)
    """Time between looks at the issuer's keys. A token with a key that is not known has them looked at, too."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        url = urlsplit(self.jwks)
        host = url.hostname or ""
        safe = (
            "://" not in self.jwks or (url.scheme == "https" and host) or (url.scheme == "http" and _is_loopback(host))
        )
        if not safe:
            raise ValueError("jwks: whoever can change what is fetched otherwise can make tokens; https:// is needed")
        return self


class AccessFile(_Entry):
    """Who may do what. Whoever is not in it is not let in."""

    keys: tuple[Key, ...] = ()
    """API keys."""
    jwt: Issuer | None = None
    """Tokens."""
    peers: tuple[Peer, ...] = ()
    """Client certificates; needs `tls_ca_file`."""

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        for what, names in (
            ("key name", (key.name for key in self.keys)),
            ("sha256", (key.sha256 for key in self.keys)),
            ("identity", (peer.identity for peer in self.peers)),
        ):
            twice = _repeated(names)
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} is there twice")
        return self


# Levels of a file that makes sense, and more.
MAX_DEPTH = 16
# Ten times as fast, where PyYAML was built with it.
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class AccessFileError(Exception):
    """An access file that cannot be used; the text says why."""


def read_access_file(path: Path) -> AccessFile:
    """Read the file; raises AccessFileError in one line."""
    try:
        found = _loaded(path.read_text(encoding="utf-8"))
        return AccessFile.model_validate({} if found is None else found)
    except ValidationError as error:
        # Without the input: a key may have been put where its SHA-256 belongs.
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".lstrip(": ") for fault in error.errors()]
        raise AccessFileError(f"{path}: {'; '.join(faults)}") from None
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise AccessFileError(f"{path}: no YAML{where}: {error.problem}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise AccessFileError(f"{path}: cannot be read: {why}") from None


def _loaded(text: str) -> object:
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            # The loader in C would take the process with it.
            raise ValueError(f"more than {MAX_DEPTH} levels")
    return yaml.load(text, _Loader)  # noqa: S506 - a safe one, either way


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
