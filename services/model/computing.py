"""From a batch to the answers of its calls: on the first runtime that computes it, and around rows that fail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from services.mesh.context import current
from services.mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, Overloaded, UpstreamUnavailable
from services.mesh.telemetry.spans import MAX_MESSAGE_BYTES, note
from services.mesh.texts import cut
from services.model.batch import Batch
from services.model.calls import Source
from services.model.counters import CallCounters
from services.model.errors import InvalidOutput, RuntimeFailed, VersionNotLoaded
from services.model.station import Place, Station
from services.model.versions import Signature

logger = logging.getLogger(__name__)

FAILED, SLOW, SATURATED, NOT_READY = "RUNTIME_FAILED", "RUNTIME_SLOW", "RUNTIME_SATURATED", "RUNTIME_NOT_READY"
"""Why a runtime that is not the first choice computed rows, named as the degradations of an answer."""

# However much time there is, a runtime that takes this many times what it surely takes, and no less than this many
# seconds, is not waited for when another one can compute.
_PATIENCE, _PATIENCE_S = 10, 0.25

_MAYBE_OF_VALUES = (RuntimeFailed, InvalidArgument, InvalidOutput)


async def compute(
    batch: Batch,
    place: Place,
    stations: Sequence[Station],
    source: Source,
    signature: Signature,
    counters: CallCounters,
) -> None:
    """Answer every call of a batch on the first of the stations that can.

    It has its `place` at the first of them; `source` says that that one computed.

    Nothing is raised but cancellation: what goes wrong is told to the calls.
    """
    station, *others = stations
    timeout_s, fair = _timeout(batch, station, place, others)
    try:
        outputs = await station.compute(place, batch.inputs(), timeout_s)
        counters.rows_invalid += batch.answer(signature, outputs, source)
        return
    except _MAYBE_OF_VALUES as error:
        failure: MeshError = error
        if isinstance(error, InvalidArgument) or await _answers_otherwise(batch, station, others):
            await _isolate(batch, stations, source, signature, counters, error)
            return
        trouble = FAILED
    except Overloaded as error:
        failure, trouble = error, SATURATED
    except DeadlineExceeded as error:
        failure, trouble = error, SLOW
    except MeshError as error:
        failure, trouble = error, FAILED
    if trouble == FAILED or (trouble == SLOW and fair):
        station.failed(trouble, failure)
    left = batch.living()
    if others and left.rows:
        # What stands against the first choice is told, and not why a stand-in for it did not compute either.
        stand_in = Source(others[0].runtime, source.reason or trouble, source.instead_of or station.runtime)
        told = {
            "reason": trouble,
            "runtime": station.runtime,
            "stand_in": others[0].runtime,
            "cause": cut(failure.message, MAX_MESSAGE_BYTES),
        }
        note(current(), "degraded", told)
        await compute(left, others[0].enter(left.rows), others, stand_in, signature, counters)
    else:
        left.fail(_told(failure))


def _timeout(batch: Batch, station: Station, place: Place, others: Sequence[Station]) -> tuple[float, bool]:
    """Say how long the station may take, and whether one that is well has answered by then.

    The next station's time is kept back for it, but not so much that this one could not answer; unless it cannot anyway.
    """
    now = time.monotonic()
    usual_s = station.cost.surely_s(batch.rows)
    needed_s = station.starts_in_s(now, place) + usual_s
    first_due, last_due = batch.due()
    timeout_s = last_due - now
    if others:
        patience_s = max(_PATIENCE_S, _PATIENCE * usual_s)
        spare_s = others[0].spare_s(first_due, batch.rows, now)
        least_s = needed_s if needed_s <= timeout_s or spare_s <= 0 else 0.0
        timeout_s = min(timeout_s, max(least_s, min(patience_s, spare_s)))
    return max(timeout_s, 0.001), timeout_s >= needed_s


async def _answers_otherwise(batch: Batch, station: Station, others: Sequence[Station]) -> bool:
    """Whether a runtime that failed on a batch computes other values: then the batch's own are at fault."""
    now = time.monotonic()
    first_due, last_due = batch.due()
    left_s = others[0].spare_s(first_due, batch.rows, now) if others else last_due - now
    # With less than it needs it would be found at fault for the time that the batch had.
    return await station.answers(max(left_s, station.cost.surely_s(1)))


async def _isolate(
    batch: Batch,
    stations: Sequence[Station],
    source: Source,
    signature: Signature,
    counters: CallCounters,
    error: MeshError,
) -> None:
    """Halve a batch that failed until the rows that are at fault stand alone; the others are answered."""
    station, *others = stations
    batch = batch.living()
    halves = batch.halves()
    if batch.rows and not halves:
        counters.rows_invalid += batch.rows
        logger.warning(
            "rows failed", extra={"rows": batch.rows, "reason": error.message, "cause": repr(error.__cause__)}
        )
        batch.fail(error)
    for half in halves:
        # A short batch is computed without leaving the event loop, so many of them would hold it.
        await asyncio.sleep(0)
        try:
            place = station.enter(half.rows)
            outputs = await station.compute(place, half.inputs(), _timeout(half, station, place, others)[0])
            counters.rows_invalid += half.answer(signature, outputs, source)
        except _MAYBE_OF_VALUES as failure:
            await _isolate(half, stations, source, signature, counters, failure)
        except MeshError:
            # The runtime fails now, whatever the values: these rows go the way of any batch.
            await compute(half, station.enter(half.rows), stations, source, signature, counters)


def _told(error: MeshError) -> MeshError:
    """Say to callers what a runtime's failure is for them.

    Of the version, not of this process: a caller who takes it for unreachable would not ask it for others either.
    """
    if isinstance(error, RuntimeFailed | UpstreamUnavailable):
        return VersionNotLoaded(f"no runtime of this version answers here: {error.message}")
    return error
