"""What an HTTP port answers, or why there is no answer."""

from __future__ import annotations

import pytest

from services.cli.fetch import fetch


@pytest.mark.parametrize("address", ["gateway", "127.0.0.1:", "127.0.0.1:http"])
def test_no_address(address: str) -> None:
    """What is none is told like an address at which nobody answers."""
    with pytest.raises(OSError, match=f"{address} is not HOST:PORT"):
        fetch(address, "/statusz", 1)
