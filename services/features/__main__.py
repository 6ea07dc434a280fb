"""Runs the feature service as a process."""

from services.features.server import build
from services.features.settings import Settings
from services.mesh.lifecycle import main

if __name__ == "__main__":
    main(Settings, build)
