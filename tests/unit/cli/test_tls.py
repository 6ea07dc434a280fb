"""Commands call over TLS where they are told to, or where the running `up` is; what is amiss is told in a line."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from predictmesh.registry.v1.registry_service_pb2 import ApplyRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.client import connect, open_channel
from services.cli.errors import Failure, Mistake
from services.cli.targets import Target, find_grpc
from services.cli.tls import Tls
from tests.support.certificates import DAY, LOOPBACK, Authority, Leaf, settings
from tests.support.commands import run
from tests.support.probe import new_probe, server


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority of the services."""
    return Authority()


def tls(directory: Path, leaf: Leaf, authority: Authority) -> Tls:
    """What the command line is given."""
    files = leaf.write(directory, authority.cert)
    assert files.ca is not None
    return Tls(files.ca, files.cert, files.key)


def ask(address: str, given: Tls | None) -> int:
    """Call as commands do."""
    with connect(Target("registry", address, "--registry", given), RegistryServiceStub) as registry:
        return registry.Apply(ApplyRequest(expected_revision=4), timeout=10).revision


async def test_command_shows_its_certificate(authority: Authority, tmp_path: Path) -> None:
    """The service lets it in, at one address and at several of one host."""
    given = tls(tmp_path / "own", authority.issue("operator.local"), authority)
    own = settings(authority.files(tmp_path, *LOOPBACK))
    async with server(new_probe(), **own) as one, server(new_probe(), **own) as other:
        for serving in (one, other):
            await serving.set_serving(True)
        assert 5 == await asyncio.to_thread(ask, one.address, given)
        assert 5 == await asyncio.to_thread(ask, f"{one.address},{other.address}", given)


async def test_service_that_wants_no_certificate(authority: Authority, tmp_path: Path) -> None:
    """The authorities to trust are enough."""
    files = authority.files(tmp_path, *LOOPBACK)
    assert files.ca is not None
    async with server(new_probe(), **settings(files), tls_client_certificates=False) as serving:
        assert 5 == await asyncio.to_thread(ask, serving.address, Tls(files.ca))


Given = Callable[[Path, Authority], Tls | None]


def _none(directory: Path, authority: Authority) -> Tls | None:
    return None


def _ca_only(directory: Path, authority: Authority) -> Tls | None:
    return Tls(tls(directory, authority.issue("a.local"), authority).ca)


def _expired(directory: Path, authority: Authority) -> Tls | None:
    return tls(directory, authority.issue("a.local", since=-2 * DAY, until=-DAY), authority)


def _other(directory: Path, authority: Authority) -> Tls | None:
    return tls(directory, authority.issue("a.local"), Authority())


def _right(directory: Path, authority: Authority) -> Tls | None:
    return tls(directory, authority.issue("a.local"), authority)


@pytest.mark.parametrize(
    ("names", "given", "remedy"),
    [
        (LOOPBACK, _none, "it hangs up: if it is TLS, --ca says whom to trust"),
        (LOOPBACK, _ca_only, "it hangs up: it may want a certificate, --cert and --key, or another one"),
        (LOOPBACK, _expired, "it hangs up: it may want a certificate, --cert and --key, or another one"),
        (LOOPBACK, _other, "its certificate does not hold, or is of no authority in --ca"),
        (("elsewhere.local",), _right, "its certificate is for another host"),
        ((), _right, "it is not TLS: leave out --ca"),
    ],
    ids=["plain", "no certificate", "expired", "another authority", "another host", "server is plain"],
)
async def test_what_is_amiss_is_told(
    authority: Authority, tmp_path: Path, names: tuple[str, ...], given: Given, remedy: str
) -> None:
    """A connection that does not come about says what to try."""
    own = settings(authority.files(tmp_path, *names)) if names else {}
    async with server(new_probe(), **own) as serving:
        with pytest.raises(Failure, match=remedy):
            await asyncio.to_thread(ask, serving.address, given(tmp_path / "own", authority))


def test_several_hosts_have_one_name_or_none(authority: Authority, tmp_path: Path) -> None:
    """Whose certificate it has to be would not be known."""
    given = tls(tmp_path, authority.issue("a.local"), authority)
    with pytest.raises(Mistake, match="with TLS the addresses are those of one host"):
        open_channel(Target("gateway", "10.0.0.1:1,10.0.0.2:1", "--gateway", given))


@pytest.fixture
def up(tmp_path: Path) -> Path:
    """The directory of an `up` that runs on TLS."""
    files = {"ca": "/c/ca.pem", "cert": "/c/cert.pem", "key": "/c/key.pem"}
    line = {"gateway": "127.0.0.1:1", "supervisor": os.getpid(), "tls": files}
    (tmp_path / "up.json").write_text(json.dumps(line))
    return tmp_path


def test_running_up_says_how_it_is_called(up: Path) -> None:
    """By the certificate of its services, unless the command has one of its own; another address is none of its."""
    own = Tls(Path("own.pem"))
    assert Tls(Path("/c/ca.pem"), Path("/c/cert.pem"), Path("/c/key.pem")) == find_grpc("gateway", None, up).tls
    assert own == find_grpc("gateway", None, up, own).tls
    assert find_grpc("gateway", "mesh:1", up).tls is None


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--ca", "ca.pem", "--cert", "cert.pem"], "--cert and --key are given together"),
        (["--ca", "ca.pem", "--key", "key.pem"], "--cert and --key are given together"),
        (["--cert", "cert.pem", "--key", "key.pem"], "--cert and --key are given with --ca"),
    ],
)
@pytest.mark.parametrize("command", ["endpoints", "up"])
def test_what_does_not_go_together(tmp_path: Path, command: str, arguments: list[str], fault: str) -> None:
    """It is refused before anything is called or started."""
    outcome = run(command, *arguments, "--data", tmp_path)
    assert 2 == outcome.code
    assert fault in outcome.err


def test_services_need_a_certificate(tmp_path: Path) -> None:
    """Those of `up` show one to each other, so that authorities alone do not do."""
    outcome = run("up", "--ca", tmp_path / "ca.pem", "--data", tmp_path)
    assert (2, "error: --ca is given with --cert and --key, which every service shows to the others\n") == (
        outcome.code,
        outcome.err,
    )


def test_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named; the environment gives files, too."""
    monkeypatch.setenv("PREDICTMESH_TLS_CA_FILE", str(tmp_path / "none.pem"))
    outcome = run("endpoints", "--data", tmp_path)
    assert (2, f"error: --ca {tmp_path / 'none.pem'}: No such file or directory\n") == (outcome.code, outcome.err)
