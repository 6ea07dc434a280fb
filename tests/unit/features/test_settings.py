"""Settings of the feature service."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from services.features.settings import Settings


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/2", "redis://localhost:6379/2"),
        ("rediss://mesh:s3cret@h:1?ssl_ca_certs=ca.pem", "rediss://mesh:******@h:1?ssl_ca_certs=ca.pem"),
        ("redis+sentinel://:s3cret@a:1,b:2/primary", "redis+sentinel://:******@a:1,b:2/primary"),
        ("redis://:p@s3cret@h", "redis://:******@h"),
        ("redis://u:s3/cret@h", "redis://u:******@h"),
        ("redis://u:s3?c#ret@h/1", "redis://u:******@h/1"),
        ("redis://h?password=s3cret&db=1", "redis://h?password=******&db=1"),
        ("redis+sentinel://h/p?sentinel_password=s3cret", "redis+sentinel://h/p?sentinel_password=******"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
    ],
)
def test_the_password_of_the_store_is_not_shown(url: str, shown: str) -> None:
    """--print-settings and logs show where the store is, not how to enter it."""
    settings = Settings(redis_url=SecretStr(url))

    assert shown == settings.masked()["redis_url"]
    assert "s3cret" not in repr(settings)
