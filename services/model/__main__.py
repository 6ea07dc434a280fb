"""Run the model service: `python -m services.model`."""

from services.mesh.lifecycle import main
from services.model.server import build
from services.model.settings import Settings

if __name__ == "__main__":
    main(Settings, build)
