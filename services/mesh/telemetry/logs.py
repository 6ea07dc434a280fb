"""JSON logs, one object a line, each with the trace and request id of the call it was written in, and no secrets."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from services.mesh.context import current
from services.mesh.security.masking import masked

# What every record has; the rest was given with `extra`.
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        call = current()
        if call is not None:
            entry |= {"trace_id": call.trace_id, "request_id": call.request_id}
        entry |= {
            key: masked(value) if isinstance(value, str) else value
            for key, value in vars(record).items()
            if key not in _STANDARD
        }
        if record.exc_info:
            entry["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(entry, default=str)


def configure(service: str, level: str) -> None:
    """Send the process's logs of `level` and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
