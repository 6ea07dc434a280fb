"""The registry as a process."""

from services.mesh.lifecycle import main
from services.registry.server import build
from services.registry.settings import Settings

if __name__ == "__main__":
    main(Settings, build)
