"""Which services may have several processes, and how many."""

from __future__ import annotations

import click
import pytest

from services.cli.errors import Mistake
from services.cli.supervision.replicas import Replicas, check_replicas


def test_counts() -> None:
    """Each service that is named gets its count; a service that cannot have more may be given its one."""
    assert {"gateway": 2, "model": 3, "registry": 1} == Replicas()("gateway=2, model=3,registry=1")
    assert {} == Replicas()("")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("registry=2", "registry has one process: the one writer of the log"),
        ("valkey=3", "valkey has one process: the one store; --redis names"),
        ("triton=2", "triton has one process: there is one for each process of the model service"),
        ("banana=2", "no service 'banana': there are gateway, features, model"),
        ("gateway", "'gateway' is not of the form SERVICE=COUNT"),
        ("gateway=2,", "'' is not of the form SERVICE=COUNT"),
        ("=2", "'=2' is not of the form SERVICE=COUNT"),
        ("gateway=0", "gateway=0: a service has 1 to 8 processes"),
        ("gateway=9", "gateway=9: a service has 1 to 8 processes"),
        ("gateway=two", "gateway=two: a service has 1 to 8 processes"),
        ("gateway=-1", "gateway=-1: a service has 1 to 8 processes"),
        ("gateway=2,gateway=3", "gateway is given twice"),
    ],
)
def test_what_cannot_be(text: str, fault: str) -> None:
    """Each is refused with why."""
    with pytest.raises(click.BadParameter) as error:
        Replicas()(text)
    assert error.value.message.startswith(fault)


def test_monolith() -> None:
    """All services in one process are not several."""
    with pytest.raises(Mistake, match="--replicas gateway=2: a monolith is one process"):
        check_replicas({"gateway": 2, "model": 1}, "monolith")
    check_replicas({"gateway": 1}, "monolith")


def test_own_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of the model service would both write the repository of a Triton that is not ours."""
    monkeypatch.setenv("PREDICTMESH_MODEL_TRITON", "127.0.0.1:8001")
    with pytest.raises(Mistake, match="each process of the model service needs a Triton of its own"):
        check_replicas({"model": 2}, "mesh")
    check_replicas({"gateway": 2}, "mesh")
