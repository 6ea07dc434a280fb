"""Services that the demo runs for itself."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploy.demo.flight_delay.online.running import reset, running
from services.cli.errors import Failure, Mistake
from services.cli.options import Services


def test_data_of_running_services_is_not_reset(services: Services) -> None:
    """A second demo on the same data is refused at once, and the first goes on."""
    with pytest.raises(Mistake, match="another `predictmesh up`"):
        reset(services.data)
    assert (services.data / "up.json").exists()


def test_reset_leaves_no_state_of_earlier_services(tmp_path: Path) -> None:
    """The store and the registry start empty; a log may stay."""
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "registry.sqlite3").touch()
    reset(tmp_path)
    assert [] == [entry for entry in tmp_path.iterdir() if entry.is_dir()]


def test_services_that_do_not_start_say_why(tmp_path: Path) -> None:
    """In one line, with the end of their log."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # The last one of the traces, as above an arbitrary port there might be no room for the others.
        with pytest.raises(Failure, match=f"did not start: .*{port}"), running(tmp_path, "monolith", port - 22):
            pass
