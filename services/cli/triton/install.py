"""Installs Triton into an environment of its own, which its Python processes need: they work with NumPy 1 only."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

from services.cli.errors import Failure
from services.cli.triton import platforms
from services.cli.triton.installation import REQUIREMENTS, is_whole, stamp, stamp_of

_LAST_LINES = 3


def install(environment: Path, progress: Callable[[str], None]) -> None:
    """Make `environment` unless it is whole already.

    NoTriton if this machine cannot run it, Failure if it cannot be made. What an interrupted call left is replaced.
    """
    platforms.check()
    if is_whole(environment):
        return
    progress(f"Installing Triton into {environment} (90 MB)")
    try:
        shutil.rmtree(environment, ignore_errors=True)
        venv.create(environment, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(
            f"cannot make the environment {environment}: {error} (Debian: apt-get install python3-venv)"
        ) from error
    _pip_install(environment)
    stamp_of(environment).write_text(stamp())


def _pip_install(environment: Path) -> None:
    # Its check would complain of what is left out on purpose.
    options = ["--quiet", "--no-deps", "--no-warn-conflicts", "--only-binary=:all:", "--disable-pip-version-check"]
    command = [
        str(environment / "bin" / "python3"),
        "-m",
        "pip",
        "install",
        *options,
        "--requirement",
        str(REQUIREMENTS),
    ]
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        end = " / ".join((done.stderr or done.stdout).splitlines()[-_LAST_LINES:])
        raise Failure(f"pip cannot install Triton: {end}")
