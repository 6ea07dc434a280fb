"""What the protocol tells of versions: metadata, configuration, statistics and the index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tritonclient.grpc import model_config_pb2 as config
from tritonclient.grpc import service_pb2 as oip

from services.model.counters import BatchCounters, Tally, total
from services.model.oip.datatypes import config_type
from services.model.serving import Serving
from services.model.statuses import RuntimeStatus, State
from services.model.versions import TensorSpec

# Triton's words, which its clients compare with.
_INDEX_STATES = {
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.FAILED: "UNAVAILABLE",
    State.UNLOADING: "UNLOADING",
}


def encode_metadata(serving: Serving, versions: Sequence[str]) -> oip.ModelMetadataResponse:
    """Write the signature of a version, and which versions of its model answer."""
    signature = serving.version.signature
    return oip.ModelMetadataResponse(
        name=serving.version.model,
        versions=versions,
        platform=serving.platform,
        inputs=_tensors(signature.inputs),
        outputs=_tensors(signature.outputs),
    )


def encode_config(serving: Serving, batch_rows: int) -> oip.ModelConfigResponse:
    """Write a version's configuration in Triton's terms."""
    signature = serving.version.signature
    return oip.ModelConfigResponse(
        config=config.ModelConfig(
            name=serving.version.model,
            platform=serving.platform,
            max_batch_size=batch_rows,
            input=[
                config.ModelInput(name=spec.name, data_type=config_type(spec.datatype), dims=spec.shape)
                for spec in signature.inputs
            ],
            output=[
                config.ModelOutput(name=spec.name, data_type=config_type(spec.datatype), dims=spec.shape)
                for spec in signature.outputs
            ],
        )
    )


def encode_statistics(servings: Iterable[Serving]) -> oip.ModelStatisticsResponse:
    """Write what versions have done since they were loaded."""
    return oip.ModelStatisticsResponse(model_stats=[_statistics(serving) for serving in servings])


def encode_index(statuses: Iterable[RuntimeStatus]) -> oip.RepositoryIndexResponse:
    """Write where each version stands."""
    index = oip.RepositoryIndexResponse.ModelIndex
    return oip.RepositoryIndexResponse(
        models=[
            index(name=status.model, version=status.version, state=_INDEX_STATES[status.state], reason=status.message)
            for status in statuses
        ]
    )


def _tensors(specs: Iterable[TensorSpec]) -> list[oip.ModelMetadataResponse.TensorMetadata]:
    return [
        oip.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=(-1, *spec.shape))
        for spec in specs
    ]


def _statistics(serving: Serving) -> oip.ModelStatistics:
    counters = serving.counters
    batches = [station.counters for station in serving.stations]
    compute = total([own.compute for own in batches])
    return oip.ModelStatistics(
        name=serving.version.model,
        version=serving.version.version,
        last_inference=counters.last_call_ms,
        inference_count=sum(own.rows for own in batches),
        execution_count=compute.count,
        inference_stats=oip.InferStatistics(
            success=_duration(counters.succeeded),
            fail=_duration(counters.failed),
            queue=_duration(total([own.queued for own in batches])),
            # Clients want all three as often as each other; what goes in and out is part of computing here.
            compute_input=_duration(Tally(compute.count)),
            compute_infer=_duration(compute),
            compute_output=_duration(Tally(compute.count)),
        ),
        batch_stats=[
            oip.InferBatchStatistics(batch_size=rows, compute_infer=_duration(tally))
            for rows, tally in sorted(_by_size(batches).items())
        ],
    )


def _by_size(batches: Iterable[BatchCounters]) -> dict[int, Tally]:
    """Add up the batches of all runtimes by their number of rows."""
    sizes: dict[int, list[Tally]] = {}
    for own in batches:
        for rows, tally in list(own.batches.items()):
            sizes.setdefault(rows, []).append(tally)
    return {rows: total(tallies) for rows, tallies in sizes.items()}


def _duration(tally: Tally) -> oip.StatisticDuration:
    return oip.StatisticDuration(count=tally.count, ns=tally.ns)
