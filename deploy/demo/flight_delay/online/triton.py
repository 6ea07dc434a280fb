"""Whether a Triton runs beside the demo's services, as one chose."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.cli.errors import Mistake
from services.cli.triton import choice
from services.cli.triton.choice import TritonMode
from services.cli.triton.errors import NoTriton
from services.cli.triton.installation import find

TRITON = "triton"
"""Its name as a runtime and as a process."""


@dataclass(frozen=True)
class Triton:
    """`used`: the model service has one. `words`: where it is, or why there is none."""

    used: bool
    words: str


def chosen(mode: TritonMode, line: Mapping[str, Any]) -> Triton:
    """Return what came of the choice, in services that were started with it and have printed this readiness line."""
    if TRITON in line:
        return Triton(True, f"runs at {line[TRITON]['grpc']}")
    if mode == "off":
        return Triton(False, "not used, as --triton off says")
    if named := os.environ.get(choice.OWN):
        return Triton(True, f"the one at {named}, named by {choice.OWN}")
    try:
        find()
    except NoTriton as error:
        return Triton(False, f"not used: {error.message}")
    return Triton(False, "not used")


def require_for_chaos(mode: TritonMode) -> None:
    """Mistake if there will be no Triton of the demo's own to kill."""
    if mode == "off":
        raise Mistake("--chaos kills Triton, which --triton off leaves out (drop one of them)")
    if os.environ.get(choice.OWN):
        raise Mistake(f"--chaos kills the demo's own Triton, and {choice.OWN} names another (unset it)")
    try:
        find()
    except NoTriton as error:
        raise Mistake(f"--chaos kills Triton: {error.message}") from error
