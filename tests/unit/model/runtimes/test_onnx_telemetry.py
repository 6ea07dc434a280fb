"""ONNX Runtime keeps to itself what it is used for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOADED = "import {module}; import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_it_is_told_to_before_it_is_loaded(given: str | None, found: str) -> None:
    """Unless somebody has said otherwise."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
    command = [sys.executable, "-c", LOADED.format(module="services.model.runtimes.onnx")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found == result.stdout.strip()
