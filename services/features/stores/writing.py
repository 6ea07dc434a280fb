"""The script that decides inside the store which of two events stays, and how an acknowledgement is confirmed."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from services.features.codec import LAYOUT, NULLS_AT
from services.features.stores import Durability
from services.mesh.errors import StoreUnavailable

# A script holds up every other client while it runs: about 1 ms for this many rows.
ROWS_PER_SCRIPT = 500

# Event times are compared in two halves, because Lua's numbers are exact only up to 2^53. What is no row of a known
# layout is overwritten.
SCRIPT = f"""
local written = {{}}
local ttl = ARGV[1]
for i = 1, #KEYS do
  local key, row = KEYS[i], ARGV[i + 1]
  local stored = redis.call('GETRANGE', key, 0, {NULLS_AT - 1})
  local later = false
  if #stored == {NULLS_AT} and string.byte(stored, 1) == {LAYOUT} then
    local stored_low, stored_high = struct.unpack('<I4i4', stored, 6)
    local row_low, row_high = struct.unpack('<I4i4', row, 6)
    later = stored_high > row_high or (stored_high == row_high and stored_low > row_low)
  end
  if later then
    written[i] = '0'
  else
    if ttl == '0' then
      redis.call('SET', key, row)
    else
      redis.call('SET', key, row, 'PX', ttl)
    end
    written[i] = '1'
  end
end
return table.concat(written)
"""
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


def flags(reply: bytes) -> npt.NDArray[np.bool_]:
    """Return the script's reply as one truth a row."""
    written: npt.NDArray[np.bool_] = np.frombuffer(reply, np.uint8) == ord("1")
    return written


def confirmation(durability: Durability, timeout_s: float) -> tuple[str | int, ...] | None:
    """Return the command that waits until what its connection wrote is as durable as asked."""
    # Shorter than the time for the whole answer, so that the store's own verdict arrives.
    timeout_ms = max(1, int(timeout_s * 800))
    if durability is Durability.AOF_ALWAYS:
        return ("WAITAOF", 1, 0, timeout_ms)
    if durability is Durability.REPLICATED:
        return ("WAIT", 1, timeout_ms)
    return None


def check_confirmed(reply: int | list[int]) -> None:
    """Raise StoreUnavailable if the reply to `confirmation` says that the time ran out."""
    confirmed = reply[0] if isinstance(reply, list) else reply
    if confirmed < 1:
        raise StoreUnavailable("The store applied the rows, but did not make them durable in time")
