"""The monolith as a process, where what it cannot use is a message and not a stack of calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_setting_that_a_service_does_not_know(tmp_path: Path) -> None:
    """A variable of a service in it that nobody reads ends the process at once, by name and with exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "services.monolith"],
        env=os.environ
        | {
            "PREDICTMESH_MONOLITH_GRPC_PORT": "0",
            "PREDICTMESH_MONOLITH_HTTP_PORT": "0",
            "PREDICTMESH_REGISTRY_DATA_DIR": str(tmp_path),
            "PREDICTMESH_REGISTRY_OBJECTS": f"file://{tmp_path}/objects",
            "PREDICTMESH_FEATURES_NONSENSE": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 2 == done.returncode
    assert "PREDICTMESH_FEATURES_NONSENSE" in done.stderr
    assert "Traceback" not in done.stderr
