"""The descriptor of the public services that Envoy turns JSON into gRPC by: `python -m deploy.envoy.descriptor [--check]`.

It is committed where it is used: as a file beside envoy.yaml, and inside of the EnvoyFilter for Istio's ingress.
"""

from __future__ import annotations

import argparse
import base64
import re
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2

from predictmesh.gateway.v1 import prediction_service_pb2

FOLDER = Path(__file__).resolve().parent
FILE = FOLDER / "predictmesh.binpb"
FILTER = FOLDER.parent / "kubernetes" / "components" / "istio" / "rest.yaml"
# The details of errors are named nowhere in our protos, and could not be told as JSON without their own.
ROOTS = (prediction_service_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR)

_INLINE = re.compile(r"(?<=proto_descriptor_bin: )\S*")


def descriptor_set() -> bytes:
    """Return the FileDescriptorSet of the public services and of all that they import."""
    files: dict[str, FileDescriptorProto] = {}
    for root in ROOTS:
        _collect(root, files)
    return FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)


def _collect(file: FileDescriptor, into: dict[str, FileDescriptorProto]) -> None:
    # What is imported comes before what imports it.
    for imported in file.dependencies:
        _collect(imported, into)
    if file.name not in into:
        into[file.name] = FileDescriptorProto.FromString(file.serialized_pb)


def wanted() -> dict[Path, bytes]:
    """Return what each file should hold."""
    made = descriptor_set()
    inline = _INLINE.sub(base64.b64encode(made).decode(), FILTER.read_text())
    return {FILE: made, FILTER: inline.encode()}


def stale() -> dict[Path, bytes]:
    """Return the files that differ, with what they should hold."""
    return {path: text for path, text in wanted().items() if not path.exists() or path.read_bytes() != text}


def main() -> int:
    """Run the command line; the exit status is 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 and name every file that differs")
    check = parser.parse_args().check
    found = stale()
    for path, text in found.items():
        if not check:
            path.write_bytes(text)
        print(f"{path.relative_to(FOLDER.parents[1])}: {'stale; run `make protos`' if check else 'updated'}")  # noqa: T201 - a command line
    return 1 if check and found else 0


if __name__ == "__main__":
    raise SystemExit(main())
