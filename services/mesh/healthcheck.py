"""Asks this machine's own service whether it serves, for container engines that run a command to know it.

    python3 -m services.mesh.healthcheck SERVICE GRPC_PORT HTTP_PORT

The ports hold unless PREDICTMESH_<SERVICE>_GRPC_PORT or _HTTP_PORT names another; a file of settings is not looked at.
Exits with 0 when it serves.
It imports no more than it must: it runs every few seconds, beside the service.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 3.0


def main() -> int:
    """Return 0 if the service of the arguments serves, 1 otherwise; what is the matter goes to stderr."""
    service, grpc_port, http_port = sys.argv[1:4]
    prefix = f"PREDICTMESH_{service.upper()}_"
    port = int(os.environ.get(f"{prefix}GRPC_PORT", grpc_port))
    secured = bool(os.environ.get(f"{prefix}TLS_CERT_FILE"))
    fault = "" if secured else _grpc_fault(port)
    if secured or (fault and _is_tls(port)):
        # Over TLS the health service may answer only those who show a certificate; the HTTP port says the same.
        fault = _http_fault(int(os.environ.get(f"{prefix}HTTP_PORT", http_port)))
    if fault:
        sys.stderr.write(f"{service} does not serve: {fault}\n")
    return bool(fault)


def _grpc_fault(port: int) -> str:
    """Return "" if the health service says SERVING, else why not."""
    import grpc  # noqa: PLC0415 - not needed over HTTP
    from grpc_health.v1 import health_pb2  # noqa: PLC0415
    from grpc_health.v1.health_pb2_grpc import HealthStub  # noqa: PLC0415

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)  # type: ignore[attr-defined]
        except grpc.RpcError as error:
            return str(error.code().name)
    return "" if answer.status == health_pb2.HealthCheckResponse.SERVING else "NOT_SERVING"


def _is_tls(port: int) -> bool:
    """Return whether the port speaks TLS, as where a file of settings says so, which is not looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said to it
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _http_fault(port: int) -> str:
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
