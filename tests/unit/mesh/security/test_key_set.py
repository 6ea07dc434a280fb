"""The keys of an issuer are fetched once and again when they may have changed, and a failure leaves those that are known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from services.mesh.errors import MeshError, Reason
from services.mesh.security import key_set
from services.mesh.security.key_set import MAX_BYTES, REFETCH_S, KeySet
from tests.support.issuers import Issuer
from tests.support.waiting import eventually


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server(HTTPServer):
    """Answers as it is told, and counts how often it is asked."""

    answer: tuple[int, bytes] = (500, b"")
    location = ""
    asked = 0
    nonsense = False
    drips = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/jwks"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        with contextlib.suppress(OSError):  # who has asked does not wait any more
            self._answer()

    def _answer(self) -> None:
        code, body = self.server.answer
        if self.server.nonsense:
            self.wfile.write(b"nonsense\r\n\r\n")
            return
        if self.server.drips:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
            while not self.server.go_on.wait(0.01):
                self.wfile.write(b" ")
        assert self.server.go_on.wait(20)
        self.send_response(code)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature is the library's
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    """An issuer's web server."""
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.go_on.set()
        made.shutdown()
        thread.join()
        made.server_close()


@pytest.fixture
def issuer() -> Issuer:
    """An issuer with one key."""
    made = Issuer()
    made.add("one")
    return made


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def keys(server: Server, issuer: Issuer, clock: Clock) -> KeySet:
    """The keys at the server, which has them."""
    server.answer = (200, issuer.jwks())
    return KeySet(server.url, clock=clock)


async def reason(keys: KeySet, kid: str | None) -> Reason:
    """Return why a key is not found."""
    with pytest.raises(MeshError) as error:
        await keys.find(kid)
    return error.value.reason


async def test_keys_are_fetched_once(keys: KeySet, server: Server) -> None:
    """Not for each token."""
    for _ in range(3):
        await keys.find("one")
    assert 1 == server.asked


async def test_rotation(keys: KeySet, server: Server, issuer: Issuer, clock: Clock) -> None:
    """A key that is new to us is looked for where the issuer publishes it."""
    await keys.find("one")
    issuer.add("two")
    server.answer = (200, issuer.jwks())
    clock.now += REFETCH_S
    assert await keys.find("two")
    assert 2 == server.asked


async def test_unknown_keys_do_not_flood_the_issuer(keys: KeySet, server: Server, clock: Clock) -> None:
    """However many come with made-up keys, it is asked once in a while."""
    await keys.find("one")
    clock.now += REFETCH_S
    found = await asyncio.gather(*(reason(keys, f"made-up-{number}") for number in range(20)))
    assert {Reason.INVALID_CREDENTIALS} == set(found)
    assert 2 == server.asked


async def test_those_who_come_together_ask_together(keys: KeySet, server: Server) -> None:
    """The first tokens after a start wait for one answer."""
    await asyncio.gather(*(keys.find("one") for _ in range(20)))
    assert 1 == server.asked


async def test_who_asks_first_and_leaves(keys: KeySet, server: Server) -> None:
    """The keys come for the others all the same."""
    server.go_on.clear()
    first = asyncio.create_task(keys.find("one"))
    await eventually(lambda: server.asked == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(keys.find("one"))
    server.go_on.set()
    assert await second
    assert 1 == server.asked


@pytest.mark.parametrize("drips", [False, True])
async def test_issuer_that_takes_its_time(server: Server, drips: bool) -> None:
    """Nobody waits for long: not while it says nothing, nor while it says something all the time."""
    server.drips = drips
    server.go_on.clear()
    keys = KeySet(server.url, timeout_s=0.1)
    async with asyncio.timeout(20):
        assert Reason.ISSUER_UNAVAILABLE is await reason(keys, "one")
        await keys.refresh()


async def test_answer_that_comes_late(keys: KeySet, server: Server, clock: Clock) -> None:
    """The time until the next question is from then on: an issuer that is slow is not asked without a pause."""
    server.go_on.clear()
    refreshing = asyncio.create_task(keys.refresh())
    await eventually(lambda: server.asked == 1)
    clock.now += REFETCH_S
    server.go_on.set()
    await refreshing
    assert Reason.INVALID_CREDENTIALS is await reason(keys, "made-up")
    assert 1 == server.asked


async def test_those_who_wait_are_bounded(keys: KeySet, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is one too many is told at once to come back."""
    monkeypatch.setattr(key_set, "MAX_WAITING", 2)
    server.go_on.clear()
    waiting = [asyncio.create_task(keys.find("one")) for _ in range(2)]
    await eventually(lambda: keys._waiting == 2)
    assert Reason.ISSUER_UNAVAILABLE is await reason(keys, "one")
    server.go_on.set()
    assert all(await asyncio.gather(*waiting))
    assert await keys.find("one")


async def test_proxy_is_not_asked_for_this_machine(
    server: Server, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is fetched without TLS goes by nobody else."""
    server.answer = (200, issuer.jwks())
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert await KeySet(server.url).find("one")


async def test_withdrawn_key(keys: KeySet, server: Server, issuer: Issuer) -> None:
    """Once the keys have been looked at again, what is signed by one that is gone is not taken."""
    issuer.add("two")
    server.answer = (200, issuer.jwks())
    await keys.find("two")
    issuer.withdraw("two")
    server.answer = (200, issuer.jwks())
    await keys.refresh()
    assert Reason.INVALID_CREDENTIALS is await reason(keys, "two")


@pytest.mark.parametrize("answer", [(500, b""), (200, b"<html>"), (200, b"{}"), (200, b'{"keys": []}'), (200, b"[1]")])
async def test_failure_leaves_the_keys_that_are_known(keys: KeySet, server: Server, answer: tuple[int, bytes]) -> None:
    """An issuer that is away, or answers something else, makes no token bad."""
    await keys.find("one")
    server.answer = answer
    await keys.refresh()
    assert await keys.find("one")


async def test_looking_goes_on_after_nonsense(keys: KeySet, server: Server, issuer: Issuer) -> None:
    """Whatever an issuer answers once, its new keys are found when it has come to its senses."""
    server.nonsense = True
    looking = asyncio.create_task(keys.keep_fresh(0.01))
    await eventually(lambda: server.asked >= 2)
    server.nonsense = False
    await eventually(lambda: len(keys) == 1)
    looking.cancel()


async def test_issuer_that_was_never_reached(server: Server) -> None:
    """Its tokens are neither good nor bad: come back later."""
    with pytest.raises(MeshError) as error:
        await KeySet(server.url).find("one")
    assert (Reason.ISSUER_UNAVAILABLE, REFETCH_S) == (error.value.reason, error.value.retry_after_s)


async def test_redirect_is_not_followed(server: Server, issuer: Issuer) -> None:
    """It could lead to where anybody can answer."""
    server.answer, server.location = (302, issuer.jwks()), f"{server.url}/elsewhere"
    assert Reason.ISSUER_UNAVAILABLE is await reason(KeySet(server.url), "one")
    assert 1 == server.asked


async def test_endless_answer_is_cut(server: Server, issuer: Issuer) -> None:
    """Nobody fills the memory of a service."""
    server.answer = (200, issuer.jwks() + b" " * MAX_BYTES)
    assert Reason.ISSUER_UNAVAILABLE is await reason(KeySet(server.url), "one")


async def test_file_is_read_again(issuer: Issuer, tmp_path: Path, clock: Clock) -> None:
    """Keys in a file rotate like those of a server."""
    keys = KeySet(issuer.publish(tmp_path / "jwks.json"), clock=clock)
    await keys.find("one")
    issuer.add("two")
    issuer.publish(tmp_path / "jwks.json")
    clock.now += REFETCH_S
    assert await keys.find("two")


async def test_token_without_a_key_s_id(issuer: Issuer, tmp_path: Path) -> None:
    """It is of the one key that there is; of several nobody guesses."""
    assert await KeySet(issuer.publish(tmp_path / "one.json")).find(None)
    issuer.add("two")
    assert Reason.INVALID_CREDENTIALS is await reason(KeySet(issuer.publish(tmp_path / "two.json")), None)


async def test_keys_that_sign_nothing_are_left_out(issuer: Issuer, tmp_path: Path) -> None:
    """Symmetric keys, keys to encrypt with, and kinds that we do not know are not taken; the others are."""
    [good] = json.loads(issuer.jwks())["keys"]
    others = [
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
        {**good, "kid": "encrypts", "use": "enc"},
        {**good, "kid": "shared-alg", "alg": "HS256"},
        {**good, "kid": "curve", "crv": "P-7"},
        {"kty": "PQ", "kid": "new"},
        {"kty": ["EC"], "kid": "list"},
        {**good, "kid": ["one"]},
        {**good, "kid": "number", "x": 7},
        {**good, "kid": "algs", "alg": ["ES256"]},
        "no key",
        7,
    ]
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [*others, good]}))
    keys = KeySet(str(file))
    await keys.find("one")
    assert 1 == len(keys)
