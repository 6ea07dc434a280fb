"""What a command shows of who calls: the key or token of a file, or of the environment, with every call that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.cli.client import open_channel
from services.cli.errors import Failure, Mistake, from_mesh_error
from services.cli.targets import Target
from services.cli.tokens import VARIABLE, chosen_token
from services.mesh.security.errors import MissingCredentials

Shown = list[tuple[str, list[str]]]


@pytest.fixture
def shown() -> Shown:
    """The kind of each call, and the tokens that it showed."""
    return []


@pytest.fixture
def address(shown: Shown) -> Iterator[str]:
    """A server that notes them."""

    def noting(kind: str) -> Any:
        def note(request: Any, context: grpc.ServicerContext) -> Any:
            sent = [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
            shown.append((kind, sent))
            return iter([b""]) if kind.endswith("_stream") else b""

        return note

    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(noting(kind))
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
    }
    running = grpc.server(ThreadPoolExecutor(2))
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        running.stop(None).wait()


def call_all(address: str, token: str) -> None:
    """Make a call of each kind."""
    with open_channel(Target("gateway", address, "--gateway", token=token)) as opened:
        channel: Any = opened
        channel.unary_unary("/test.Echo/unary_unary")(b"", metadata=(("x-request-id", "r"),))
        list(channel.unary_stream("/test.Echo/unary_stream")(b""))
        channel.stream_unary("/test.Echo/stream_unary")(iter([b""]))
        list(channel.stream_stream("/test.Echo/stream_stream")(iter([b""])))


@pytest.mark.parametrize(("token", "expected"), [("pmk_x", ["Bearer pmk_x"]), ("", [])])
def test_every_kind_of_call_shows_it(address: str, shown: Shown, token: str, expected: list[str]) -> None:
    """Streams, too; without one nothing is shown."""
    call_all(address, token)
    assert {"unary_unary", "unary_stream", "stream_unary", "stream_stream"} == {kind for kind, _ in shown}
    assert [expected] * 4 == [sent for _, sent in shown]


def test_file_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either nothing is shown."""
    file = tmp_path / "key"
    file.write_text("pmk_file\n")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert "" == chosen_token(None)
    monkeypatch.setenv(VARIABLE, "pmk_environment\n")
    assert "pmk_environment" == chosen_token(None)
    assert "pmk_file" == chosen_token(file)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is a mistake, not a call without a key."""
    with pytest.raises(Mistake, match="--token-file"):
        chosen_token(tmp_path / "nowhere")


def test_target_does_not_tell_its_token() -> None:
    """It may stand in an error."""
    target = Target("gateway", "127.0.0.1:1", "--gateway", token="pmk_x")
    assert "pmk_x" not in f"{target} {target!r}"


def test_who_is_not_known_is_told_how_to_be() -> None:
    """The line names the option."""
    told = from_mesh_error(MissingCredentials("who calls?", field="authorization"))
    assert isinstance(told, Failure)
    assert "--token-file" in told.message
