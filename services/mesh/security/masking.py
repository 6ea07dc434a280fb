"""Hides what gives access from texts that people read: passwords in URLs, keys, tokens."""

from __future__ import annotations

import re

from services.mesh.security.keys import PREFIX

MASK = "******"
# A password may hold what should be percent-encoded: all up to the last @ of the word is hidden.
_SECRETS = (
    (re.compile(r"(\w://[^\s:@]*:)[^\s\"']*@"), rf"\1{MASK}@"),
    (re.compile(r"(password=)[^\s&\"']+"), rf"\1{MASK}"),
    (re.compile(rf"({PREFIX})[\w-]+"), rf"\1{MASK}"),
    # A JWT: its first part says in base64 that it is JSON.
    (re.compile(r"\b(eyJ)[\w-]+\.[\w-]+\.[\w-]*"), rf"\1{MASK}"),
)


def masked(text: str) -> str:
    """Return the text with asterisks for what it should not tell."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text
