"""How a setting tells where the replicas of a service are."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field

from services.mesh.settings import ServiceSettings, SettingsError
from services.mesh.target import Target, Targets, addresses, is_name
from tests.support import probe


class Settings(probe.Settings):
    service: ClassVar[str] = "placed"
    many: Targets = "127.0.0.1:1"
    one: Target = Field("127.0.0.1:1")


@pytest.mark.parametrize(
    ("expected", "target"),
    [
        (("features:50052",), "features:50052"),
        (("dns:///features:50052",), "dns:///features:50052"),
        (("dns://10.0.0.10:53/features:50052",), "dns://10.0.0.10:53/features:50052"),
        (("unix:/run/features.sock",), "unix:/run/features.sock"),
        (("10.0.0.1:50052", "10.0.0.2:50052"), "10.0.0.1:50052,10.0.0.2:50052"),
        (("10.0.0.1:50052", "10.0.0.2:50052"), "10.0.0.1:50052, 10.0.0.2:50052"),
        (("ipv4:10.0.0.1:50052", "ipv4:10.0.0.2:50052"), "ipv4:10.0.0.1:50052,10.0.0.2:50052"),
        (("ipv6:[::1]:1", "ipv6:[::1]:2"), "ipv6:[::1]:1,[::1]:2"),
        (("unix:/a.sock", "unix:/b.sock"), "unix:/a.sock,unix:/b.sock"),
    ],
)
def test_each_listed_address_is_a_target_of_its_own(expected: tuple[str, ...], target: str) -> None:
    """Commas separate replicas; a name stays one target, whatever is behind it."""
    assert expected == addresses(target)


@pytest.mark.parametrize(
    ("expected", "address"),
    [
        (True, "features:50052"),
        (True, "features"),
        (True, "dns:///features:50052"),
        (True, "localhost:50052"),
        (False, "127.0.0.1:50052"),
        (False, "[::1]:50052"),
        (False, "ipv4:127.0.0.1:50052"),
        (False, "ipv6:[::1]:50052"),
        (False, "unix:/run/features.sock"),
    ],
)
def test_only_a_name_may_hide_several_replicas(expected: bool, address: str) -> None:
    """An address that is a number, or a socket, is one replica."""
    assert expected is is_name(address)


@pytest.mark.parametrize(
    ("setting", "target", "why"),
    [
        ("MANY", "10.0.0.1:1,,10.0.0.2:1", "an address is empty"),
        ("MANY", "", "an address is empty"),
        ("MANY", "10.0.0.1:1,10.0.0.1:1", "an address is listed twice"),
        ("ONE", "10.0.0.1:1,10.0.0.2:1", "this service has one replica"),
    ],
)
def test_target_that_cannot_be_meant_is_an_error(
    monkeypatch: pytest.MonkeyPatch, setting: str, target: str, why: str
) -> None:
    """A slip in a list is found at the start, not by the first call."""
    monkeypatch.setenv(f"PREDICTMESH_PLACED_{setting}", target)
    with pytest.raises(SettingsError, match=why):
        Settings.load()


def test_list_of_replicas_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be meant is taken as it is."""
    monkeypatch.setenv("PREDICTMESH_PLACED_MANY", "10.0.0.1:1,10.0.0.2:1")
    settings: ServiceSettings = Settings.load()
    assert "10.0.0.1:1,10.0.0.2:1" == settings.masked()["many"]
