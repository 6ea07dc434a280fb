"""Settings of the model service that depend on each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.model.settings import Settings


@pytest.mark.parametrize("given", [{"triton": "localhost:8001"}, {"triton_repository": Path("models")}])
def test_triton_and_its_repository_go_together(given: dict[str, Any]) -> None:
    """One without the other is refused, and the message names both."""
    with pytest.raises(ValidationError, match="triton and triton_repository are given together"):
        Settings(**given)


def test_triton_with_its_repository() -> None:
    """Both together are taken, as is neither."""
    made = Settings(triton="localhost:8001", triton_repository=Path("models"))
    assert ("localhost:8001", Path("models")) == (made.triton, made.triton_repository)
    assert ("", None) == (Settings().triton, Settings().triton_repository)
