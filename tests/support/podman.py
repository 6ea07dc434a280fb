"""A podman of the tests' own: its storage, its networks and its socket go when it is closed, and what ran with them.

Needs root on Debian, or the test is skipped, or fails under CI=true.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts import lacking, program
from tests.support.ending import end
from tests.support.waiting import until

STOP_LIMIT_S = 30
# Runs where a container may not raise its limits; runc, as Debian's crun wants a newer kernel's cgroups.
SETTINGS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
"""


@dataclass(frozen=True)
class Podman:
    """An engine whose state is all in `directory`."""

    directory: Path

    @property
    def command(self) -> list[str]:
        """What its command lines begin with."""
        places = {"root": "storage", "runroot": "run", "tmpdir": "tmp", "network-config-dir": "networks"}
        return [
            "podman",
            *(word for name, place in places.items() for word in (f"--{name}", str(self.directory / place))),
        ]

    @property
    def env(self) -> dict[str, str]:
        """The environment that it runs in."""
        own = {"CONTAINERS_CONF": str(self.directory / "containers.conf"), "TMPDIR": str(self.directory / "scratch")}
        return os.environ | own

    def run(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run a command and return what it writes to stdout; AssertionError with its stderr if it fails."""
        done = self.attempt(*arguments, stdin=stdin)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def attempt(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a command that may fail."""
        return subprocess.run([*self.command, *arguments], env=self.env, input=stdin, capture_output=True, check=False)

    def inspect(self, name: str) -> Any:
        """Return what podman knows of a container, an image or a pod."""
        found = json.loads(self.run("inspect", name))
        return found[0] if isinstance(found, list) else found

    def address(self, container: str) -> str:
        """Return the address of a container in the one network that it is in; tests reach it from outside, too."""
        (network,) = self.inspect(container)["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    @contextmanager
    def container(self, *arguments: str) -> Iterator[str]:
        """Run a container in the background for the time of the context; its id."""
        name = self.run("run", "--detach", "--pull=never", *arguments)
        try:
            yield name
        finally:
            self.run("rm", "--force", "--volumes", "--time=0", name)

    @contextmanager
    def socket(self) -> Iterator[str]:
        """Serve Docker's API for the time of the context; the URL of its socket."""
        path = self.directory / "podman.sock"
        service = subprocess.Popen(
            [*self.command, "system", "service", "--time=0", f"unix://{path}"], env=self.env, stderr=subprocess.DEVNULL
        )
        try:
            until(path.exists, bool)
            yield f"unix://{path}"
        finally:
            end(service, STOP_LIMIT_S)

    def remove_all(self) -> None:
        """End and remove whatever is there; nothing remains of it, mounts included."""
        for what in ("pod", "container"):
            self.attempt(what, "rm", "--all", "--force", "--time=0")
        self.attempt("network", "prune", "--force")
        # Podman mounts its storage on itself, and leaves that to the end of the machine.
        with contextlib.suppress(OSError):
            subprocess.run(["umount", str(self.directory / "storage/overlay")], capture_output=True, check=False)
        shutil.rmtree(self.directory)


@contextmanager
def podman() -> Iterator[Podman]:
    """Open an engine with nothing in it."""
    program("podman")
    if os.geteuid() != 0:
        lacking("podman is run as root here, for networks that the tests can reach")
    # A gigabyte of images: not where temporary files may lie in memory.
    engine = Podman(Path(tempfile.mkdtemp(prefix="predictmesh-", dir="/var/tmp")))
    (engine.directory / "containers.conf").write_text(SETTINGS)
    (engine.directory / "scratch").mkdir()
    try:
        yield engine
    finally:
        engine.remove_all()
