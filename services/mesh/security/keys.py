"""API keys: 256 random bits, shown once; a service keeps the SHA-256."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "pmk_"
"""What every key begins with, so that it is found where it should not be, and is taken for no other token."""


def new_key() -> str:
    """Return a key that nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return the SHA-256 of a key or token. It needs no salt: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode()).digest()
