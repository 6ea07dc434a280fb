"""What the audit's lines say of callers who were not let in."""

from __future__ import annotations

from typing import Any

import pytest

from services.mesh.security.audit import Attempt, Audit
from services.mesh.security.errors import MissingRole
from tests.support.certificates import spiffe


@pytest.mark.parametrize(
    ("attempt", "kind"),
    [
        (Attempt("/s/M", caller="ann", authorization="Bearer pmk_of-ann"), "key"),
        (Attempt("/s/M", caller="ann", authorization="bearer eyJhbGciOi.eyJzdWIiOi.c2ln"), "token"),
        (Attempt("/s/M", caller=spiffe("ann"), identity=spiffe("ann")), "certificate"),
        (Attempt("/s/M", caller="ann", identity=spiffe("gateway"), authorization="Bearer pmk_of-ann"), "key"),
        (Attempt("/s/M"), None),
        (Attempt("/s/M", authorization=b"\xff"), None),
    ],
    ids=["key", "token", "certificate", "key beside a certificate", "nothing", "bytes"],
)
def test_kind_of_credential(attempt: Attempt, kind: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """The subject of a token may have the name of a key: a line says what it was that was shown."""
    Audit("probe").refused(attempt, MissingRole("ann may not"))
    [line] = caplog.records
    told: dict[str, Any] = vars(line)
    assert kind == told.get("credential")
    assert not str(attempt.authorization) or str(attempt.authorization) not in str(told)
