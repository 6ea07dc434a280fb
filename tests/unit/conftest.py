"""Settings of the property tests."""

from __future__ import annotations

from hypothesis import settings

# An example may take as long as it does: on a busy machine hypothesis' limit of 200 ms finds no fault of the code's.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
