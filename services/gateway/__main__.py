"""Runs the gateway as a process."""

from services.gateway.server import build
from services.gateway.settings import Settings
from services.mesh.lifecycle import main

if __name__ == "__main__":
    main(Settings, build)
