"""Who is at the other end of a connection, as its certificate says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from services.mesh.methods import ServerContext

# As gRPC calls them: what it has found in a certificate that it has verified, and in no other.
_NAMES = ("peer_spiffe_id", "peer_uri", "peer_dns")


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a call comes from, and what gRPC knows of the connection; it is the same for all calls of a stream of calls.

    `metadata` is what the stream was opened with that holds for each of its calls.
    """

    address: str
    auth_context: Mapping[str, Iterable[bytes]] = field(default_factory=dict)
    metadata: tuple[tuple[str, str | bytes], ...] = ()


LOCAL = Peer("local")


class _Authenticated(Protocol):
    """What every context of a call has, too; the types of generated code say otherwise."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what gRPC knows of the connection."""


def peer_identity(context: ServerContext) -> str | None:
    """Return the name in the caller's certificate: its URI (a SPIFFE id), else its first DNS name.

    None without a certificate: the connection is not TLS, or clients need not present one, or the call is of this process.
    """
    known = cast("_Authenticated", context).auth_context()
    for name in _NAMES:
        for value in known.get(name, ()):
            return value.decode(errors="replace")
    return None
