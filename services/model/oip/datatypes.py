"""Element types in the messages of the protocol: where typed values lie, and what configurations call them."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as config

from services.model.datatypes import BYTES

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Field of typed values by type; FP16 has none, it can only be packed."""

_CONFIG_NAMES = {BYTES: "STRING"}
_DATATYPES = {name: datatype for datatype, name in _CONFIG_NAMES.items()}


def config_type(datatype: str) -> int:
    """Return the number of a type in Triton's configurations."""
    return int(config.DataType.Value(f"TYPE_{_CONFIG_NAMES.get(datatype, datatype)}"))


def datatype_of(number: int) -> str:
    """Return the type of such a number; Triton's own name where the protocol has none."""
    name = str(config.DataType.Name(number)).removeprefix("TYPE_")
    return _DATATYPES.get(name, name)
