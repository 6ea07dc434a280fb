"""Generate the Python stubs of protos/predictmesh beside their sources; nothing else writes them."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

SOURCE = Path(__file__).resolve().parent
PACKAGE = "predictmesh"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", "__init__.py", "py.typed")
GOOGLE_PACKAGES = ("google/api", "google/rpc")


def googleapis_root() -> Path:
    """The include folder of the googleapis-common-protos wheel."""
    spec = importlib.util.find_spec("google.api")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("googleapis-common-protos is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0]).parents[1]


def run_protoc(protos: list[Path], outputs: list[str]) -> None:
    """Compile `protos` with the generators that `outputs` names."""
    # The plugins of this interpreter, whatever PATH says: another version writes other stubs.
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    includes = [SOURCE, googleapis_root(), Path(grpc_tools.__file__).parent / "_proto"]
    status = protoc.main(["protoc", *plugins, *(f"-I{path}" for path in includes), *outputs, *map(str, protos)])
    if status:
        raise SystemExit(status)


def compile_protos(out: Path) -> None:
    """Write the stubs of every proto of the package below `out`."""
    protos = sorted((SOURCE / PACKAGE).rglob("*.proto"))
    run_protoc(protos, [f"--python_out={out}", f"--mypy_out=quiet:{out}"])
    # Without a service in it, a proto would get an empty pair of grpc stubs.
    services = [path for path in protos if re.search(r"^service ", path.read_text(), re.MULTILINE)]
    run_protoc(services, [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"])


def add_package_files(out: Path) -> None:
    """Make every folder an ordinary, typed package, so that no other distribution can add to it."""
    (out / PACKAGE / "py.typed").touch()
    for folder in [out / PACKAGE, *(path for path in (out / PACKAGE).rglob("*") if path.is_dir())]:
        name = ".".join(folder.relative_to(out).parts)
        (folder / "__init__.py").write_text(f'"""Generated stubs of the protobuf package {name}."""\n')


def generated_files(root: Path) -> dict[str, bytes]:
    """Content of every generated file below `root`, by path relative to it."""
    files = {path for pattern in GENERATED for path in (root / PACKAGE).rglob(pattern)}
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def differences(wanted: dict[str, bytes], present: dict[str, bytes]) -> list[str]:
    """Paths that are missing, left over or different, sorted."""
    return sorted(path for path in wanted.keys() | present.keys() if wanted.get(path) != present.get(path))


def rewrite(paths: list[str], wanted: dict[str, bytes]) -> None:
    """Write each of `paths`; delete the ones that nothing generates any more."""
    for path in paths:
        if path in wanted:
            (SOURCE / path).write_bytes(wanted[path])
        else:
            (SOURCE / path).unlink()


def copy_googleapis(target: Path) -> None:
    """Replace `target` by the protos of GOOGLE_PACKAGES."""
    shutil.rmtree(target, ignore_errors=True)
    for package in GOOGLE_PACKAGES:
        (target / package).mkdir(parents=True)
        for proto in sorted((googleapis_root() / package).glob("*.proto")):
            shutil.copyfile(proto, target / package / proto.name)


def main() -> int:
    """Run the command line; the exit status is 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; exit 1 and name every file that differs")
    mode.add_argument("--googleapis", type=Path, metavar="DIR", help="copy the google protos into DIR, for buf")
    arguments = parser.parse_args()
    if arguments.googleapis:
        copy_googleapis(arguments.googleapis)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        compile_protos(Path(folder))
        add_package_files(Path(folder))
        wanted = generated_files(Path(folder))
    stale = differences(wanted, generated_files(SOURCE))
    if not arguments.check:
        rewrite(stale, wanted)
    for path in stale:
        print(f"protos/{path}: {'differs from the protos; run `make protos`' if arguments.check else 'updated'}")
    return 1 if arguments.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
