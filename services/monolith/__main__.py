"""Runs the monolith as a process."""

from services.mesh.lifecycle import main
from services.monolith.server import build
from services.monolith.settings import Settings

if __name__ == "__main__":
    main(Settings, build)
