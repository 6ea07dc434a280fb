"""A tiny service for tests of the supervisor: `python fake_service.py NAME HTTP_PORT JOURNAL [BEHAVIOUR]`.

Appends what happens to it to JOURNAL. Behaviours: `healthy`, `never_ready`, `stubborn` (ignores SIGTERM), `broken` (ends),
`parental` (has a process of its own, which outlives it).
"""

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NAME, PORT, JOURNAL, BEHAVIOUR = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]


def journal(event: str, pid: int = os.getpid()) -> None:
    """Append one line, whole even beside other processes."""
    with JOURNAL.open("a") as file:
        file.write(f"{event} {NAME} {pid}\n")


class Handler(BaseHTTPRequestHandler):
    """Answers /readyz."""

    def do_GET(self) -> None:
        """Answer."""
        ready = BEHAVIOUR != "never_ready"
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b'{"ready": %s, "reason": "thinking"}' % str(ready).lower().encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Say nothing."""


def main() -> None:
    """Serve until SIGTERM."""
    journal("start")
    if BEHAVIOUR == "unusable":
        sys.exit(2)
    if BEHAVIOUR == "broken":
        sys.exit(3)
    server = HTTPServer(("127.0.0.1", PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended = threading.Event()
    ignored = BEHAVIOUR == "stubborn"
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ignored else lambda *_: ended.set())
    if BEHAVIOUR == "parental":
        journal("start", subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
    journal("serve")
    ended.wait()
    journal("stop")


if __name__ == "__main__":
    main()
