"""A supervisor of fake services, as a process: `python -m tests.support.fake_up PLAN`, where PLAN is JSON.

`{"journal": FILE, "services": {NAME: [PORT, BEHAVIOUR]}, "start": [[NAME]], "stop": [[NAME]]}`; prints each readiness line.
`"optional": [NAME]` names services that nobody waits for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.cli.errors import Failure
from services.cli.output import print_line
from services.cli.supervision.child import Backoff, Program
from services.cli.supervision.probes import http_probe
from services.cli.supervision.supervisor import Limits, Supervisor
from services.cli.supervision.topology import Topology


def program(name: str, port: int, behaviour: str, journal: str) -> Program:
    """Return the program of one fake service."""
    command = [sys.executable, str(Path(__file__).with_name("fake_service.py")), name, str(port), journal, behaviour]
    return Program(name, command, dict(os.environ), http_probe(f"127.0.0.1:{port}"), [name])


def main(plan: dict[str, Any]) -> None:
    """Run the plan until a signal."""
    logging.basicConfig(level=logging.INFO)
    services = plan["services"].items()
    programs = {name: program(name, port, behaviour, plan["journal"]) for name, (port, behaviour) in services}
    programs |= {name: replace(programs[name], optional=True) for name in plan.get("optional", [])}
    supervisor = Supervisor(
        Topology(programs, plan["start"], plan["stop"], {}, {}),
        announce=print_line,
        started=lambda: None,
        limits=Limits(ready_s=plan.get("ready_s", 30), stop_s=plan.get("stop_s", 10), backoff=Backoff(0.05, 0.2, 30)),
    )

    try:
        asyncio.run(supervisor.run())
    except Failure as failure:
        sys.stderr.write(f"error: {failure.message}\n")
        sys.exit(failure.exit_code)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
