"""ModelInfer from the caller's side: its request made from arrays, and its response read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tritonclient.grpc import service_pb2 as oip

from services.model.datatypes import DTYPES, Array, pack, unpack
from services.model.errors import InvalidOutput
from services.model.oip.datatypes import CONTENTS
from services.model.oip.remote import RemoteSignature, RemoteTensor


class InferCodec:
    """Makes the requests to one model and reads its responses; outputs beyond the signature's are neither asked nor read."""

    def __init__(self, model: str, version: str, signature: RemoteSignature) -> None:
        self._inputs = signature.inputs
        self._outputs = {tensor.name: tensor for tensor in signature.outputs}
        self._template = oip.ModelInferRequest(
            model_name=model,
            model_version=version,
            inputs=[
                oip.ModelInferRequest.InferInputTensor(
                    name=tensor.name, datatype=tensor.spec.datatype, shape=(0, *tensor.row)
                )
                for tensor in signature.inputs
            ],
            outputs=[
                oip.ModelInferRequest.InferRequestedOutputTensor(name=tensor.name) for tensor in signature.outputs
            ],
        )

    def encode(self, inputs: Mapping[str, Array], rows: int) -> oip.ModelInferRequest:
        """Make the request for a batch, packed."""
        request = oip.ModelInferRequest()
        request.CopyFrom(self._template)
        for tensor in request.inputs:
            tensor.shape[0] = rows
        request.raw_input_contents.extend([pack(inputs[tensor.spec.name]) for tensor in self._inputs])
        return request

    def decode(self, response: oip.ModelInferResponse, rows: int) -> dict[str, Array]:
        """Read every output, in the signature's shape; InvalidOutput if one is missing, or of other type or shape."""
        raw = response.raw_output_contents
        if raw and len(raw) != len(response.outputs):
            raise InvalidOutput(f"the server answered {len(raw)} raw contents for {len(response.outputs)} outputs")
        outputs: dict[str, Array] = {}
        for index, output in enumerate(response.outputs):
            tensor = self._outputs.get(output.name)
            if tensor is not None:
                _check(output, tensor, rows)
                values = _read(output, raw[index] if raw else None)
                outputs[tensor.spec.name] = values.reshape(tensor.spec.batch_shape(rows))
        if len(outputs) < len(self._outputs):
            missing = ", ".join(repr(name) for name in self._outputs.keys() - {out.name for out in response.outputs})
            raise InvalidOutput(f"the server answered no output {missing}")
        return outputs


def _check(output: oip.ModelInferResponse.InferOutputTensor, tensor: RemoteTensor, rows: int) -> None:
    datatype = tensor.spec.datatype
    if output.datatype != datatype:
        raise InvalidOutput(f"output {output.name!r} came as {output.datatype}, the signature says {datatype}")
    if not tensor.fits(tuple(output.shape), rows):
        wanted, came = list(tensor.spec.batch_shape(rows)), list(output.shape)
        raise InvalidOutput(f"output {output.name!r} came in shape {came}, the signature says {wanted}")


def _read(output: oip.ModelInferResponse.InferOutputTensor, raw: bytes | None) -> Array:
    shape = tuple(output.shape)
    try:
        if raw is not None:
            return unpack(raw, output.datatype, shape)
        values = getattr(output.contents, CONTENTS[output.datatype])
        return np.fromiter(values, DTYPES[output.datatype], len(values)).reshape(shape)
    except (KeyError, ValueError, OverflowError) as error:
        raise InvalidOutput(f"output {output.name!r} does not fill {output.datatype} {list(shape)}") from error
