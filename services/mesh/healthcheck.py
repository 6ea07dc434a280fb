"""Asks this machine's own service whether it is ready, for container engines that run a command to know it.

    python3 -m services.mesh.healthcheck SERVICE HTTP_PORT

The port holds unless PREDICTMESH_<SERVICE>_HTTP_PORT names another; a file of settings is not looked at.
Exits with 0 when it is ready. By HTTP: by gRPC a check is refused with the calls where they are too many.
It imports no more than it must: it runs every few seconds, beside the service.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 3.0


def main() -> int:
    """Return 0 if the service of the arguments is ready, 1 otherwise; what is the matter goes to stderr."""
    service, http_port = sys.argv[1:3]
    fault = _fault(int(os.environ.get(f"PREDICTMESH_{service.upper()}_HTTP_PORT", http_port)))
    if fault:
        sys.stderr.write(f"{service} is not ready: {fault}\n")
    return bool(fault)


def _fault(port: int) -> str:
    """Return "" if /readyz says that the service is ready, else why not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode(errors="replace").strip() or str(refusal)
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
