"""Whether `up` starts a Triton."""

from __future__ import annotations

import logging
import os
from typing import Literal

from services.cli.triton.errors import NoTriton
from services.cli.triton.installation import Installation, find

logger = logging.getLogger(__name__)

TritonMode = Literal["auto", "required", "off"]

OWN = "PREDICTMESH_MODEL_TRITON"
"""The model service's setting, by which it may be told of another."""


def choose(mode: TritonMode) -> Installation | None:
    """Return the Triton to start, None for none. NoTriton if one is required and cannot be started.

    In `auto` the log tells why there is none. One that the environment names to the model service is left to it.
    """
    if mode == "off":
        return None
    if named := os.environ.get(OWN):
        logger.info("no Triton is started: %s names %s", OWN, named)
        return None
    try:
        return find()
    except NoTriton as error:
        if mode == "required":
            raise
        logger.info("models run without Triton: %s", error.message)
        return None
