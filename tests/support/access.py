"""Access files and who is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import yaml


def key(name: str, *roles: str, **more: Any) -> dict[str, Any]:
    """Return the entry of the key that `secret(name)` is."""
    return {"name": name, "sha256": hashlib.sha256(secret(name).encode()).hexdigest(), "roles": list(roles), **more}


def secret(name: str) -> str:
    """Return the key of that name."""
    return f"pmk_{name}-of-a-test"


def shows(token: str) -> Sequence[tuple[str, str]]:
    """Return the metadata of a call that shows a token."""
    return (("authorization", f"Bearer {token}"),)


def write(file: Path, *keys: Mapping[str, Any], **more: Any) -> Path:
    """Write an access file, in place of another in one move, and return its path."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(yaml.safe_dump({"keys": list(keys), **more}))
    return new.replace(file)


class _Showing:
    """Has every call of a channel show a token."""

    def __init__(self, token: str) -> None:
        self._metadata = shows(token)

    async def _shown(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *self._metadata)
        return await continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _shown


# grpc.aio takes an interceptor for calls of one kind only.
class _UnaryUnary(_Showing, grpc.aio.UnaryUnaryClientInterceptor): ...


class _UnaryStream(_Showing, grpc.aio.UnaryStreamClientInterceptor): ...


class _StreamUnary(_Showing, grpc.aio.StreamUnaryClientInterceptor): ...


class _StreamStream(_Showing, grpc.aio.StreamStreamClientInterceptor): ...


def showing(token: str) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return the interceptors of a channel whose calls show a token."""
    return [kind(token) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
