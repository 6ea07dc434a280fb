"""What gives access is in no log, no printed settings and no error."""

from __future__ import annotations

import json
import logging

import pytest

from services.features.stores import Durability
from services.features.stores.opening import StoreOptions, open_store
from services.mesh.errors import InvalidArgument
from services.mesh.security.keys import new_key
from services.mesh.security.masking import masked
from services.mesh.telemetry.logs import JsonFormatter
from tests.support.issuers import Issuer
from tests.support.probe import Settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:s3cret@host:1/0", "redis://user:******@host:1/0"),
        ("cannot reach rediss://:s3cret@host, nor redis://u:s3/cr@et@h", "cannot reach rediss://:******@host, nor redis://u:******@h"),
        ("https://user:s3cret@host/v1/traces", "https://user:******@host/v1/traces"),
        ("redis://h?password=s3cret&db=1", "redis://h?password=******&db=1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("mail ann@host at 10:00", "mail ann@host at 10:00"),
        ("Bearer pmk_s3cret-s3cret_s3cret", "Bearer pmk_******"),
    ],
)  # fmt: skip
def test_masked(text: str, shown: str) -> None:
    """Passwords in URLs and keys are; what only looks a little like them is not."""
    assert shown == masked(text)


def test_keys_and_tokens() -> None:
    """As they are made."""
    issuer = Issuer()
    issuer.add("one")
    for secret in (new_key(), issuer.token()):
        assert secret[8:] not in masked(f"sent {secret}, sorry")


def test_log() -> None:
    """Neither the message nor what is given with it, nor the exception."""
    error = OSError("redis://user:s3cret@host")
    caught = (OSError, error, None)
    record = logging.LogRecord("a", logging.INFO, "f", 1, "to %s", ("redis://user:s3cret@host",), caught)
    record.cause, record.count = "https://user:s3cret@host", 7
    line = JsonFormatter("probe").format(record)
    assert "s3cret" not in line
    assert (7, "https://user:******@host") == (json.loads(line)["count"], json.loads(line)["cause"])


def test_printed_settings() -> None:
    """Any of them may be a URL with a password."""
    shown = Settings(otlp_endpoint="https://user:s3cret@collector:4317").masked()
    assert "https://user:******@collector:4317" == shown["otlp_endpoint"]


@pytest.mark.parametrize("url", ["redis://user:s3/cret@host", "redis://user:s3cret@host:port", "nope://u:s3cret@host"])
async def test_store_s_url_that_cannot_be_used(url: str) -> None:
    """The parts that are found wrong in it may be those of a password."""
    options = StoreOptions(durability=Durability.APPLIED, timeout_s=1, start_timeout_s=1, max_connections=1)
    with pytest.raises(InvalidArgument) as error:
        async with open_store(url, options):
            pass
    assert "s3" not in str(error.value)
    assert "redis_url" == error.value.violations[0].field
