"""A place in a YAML document, which reads what stands there and names itself when it is wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from services.cli.errors import Mistake

T = TypeVar("T")

_KINDS: dict[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}


class ResourceError(Mistake):
    """A YAML file does not say what it should; names the file, the document and the path in it."""


@dataclass(frozen=True)
class Document:
    """Where a document stands; the first of a file has number 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}, document {self.number}"


@dataclass(frozen=True)
class Cursor:
    """A value of a document and its path, e.g. `fields[2].type`; the path of the document itself is empty."""

    value: object
    document: Document
    path: str = ""

    def fail(self, problem: str) -> NoReturn:
        """Raise a ResourceError that says what is wrong here."""
        raise ResourceError(f"{self.document}{', ' + self.path if self.path else ''}: {problem}")

    def mapping(self, required: Collection[str] = (), optional: Collection[str] = ()) -> dict[str, Cursor]:
        """Return the members of the mapping that stands here, which has all required keys and no unknown ones."""
        members = self.members()
        known = [*required, *optional]
        for key, member in members.items():
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
                member.fail(f"unknown key ({hint})")
        for key in required:
            if key not in members:
                self.fail(f"{key} is missing")
        return members

    def members(self) -> dict[str, Cursor]:
        """Return the members of the mapping that stands here, whatever their keys, which must be text."""
        if not isinstance(self.value, dict):
            self._expected("a mapping")
        for key in self.value:
            if not isinstance(key, str):
                self.fail(f"the key {key!r} must be text: quote it")
        prefix = f"{self.path}." if self.path else ""
        return {key: Cursor(value, self.document, prefix + key) for key, value in self.value.items()}

    def items(self) -> list[Cursor]:
        """Return the items of the list that stands here."""
        if not isinstance(self.value, list):
            self._expected("a list")
        return [Cursor(item, self.document, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def text(self) -> str:
        """Return the text that stands here; not empty."""
        if not isinstance(self.value, str):
            # YAML reads 1.0 as a number and NO as false; the author meant neither.
            self._expected("text", ": quote it" if isinstance(self.value, int | float) else "")
        if not self.value:
            self.fail("must not be empty")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """Return the whole number that stands here, from `low` to `high`."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self._expected("a whole number")
        if not low <= self.value <= high:
            self.fail(f"{self.value} is outside of {low} to {high}")
        return self.value

    def number(self) -> float:
        """Return the finite number that stands here."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool):
            self._expected("a number")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail("must be finite")
        return number

    def at_least(self, low: float) -> float:
        """Return the number that stands here, `low` or more."""
        number = self.number()
        if number < low:
            self.fail(f"{self.value} is less than {low:g}")
        return number

    def percent(self) -> float:
        """Return the share that stands here, in percent: above 0, to 100."""
        number = self.number()
        if not 0 < number <= 100:
            self.fail(f"{self.value} is no share in percent, above 0 and at most 100")
        return number

    def boolean(self) -> bool:
        """Return the truth value that stands here."""
        if not isinstance(self.value, bool):
            self._expected("true or false")
        return self.value

    def choice(self, choices: Mapping[str, T]) -> T:
        """Return what the text that stands here stands for."""
        text = self.text()
        if text not in choices:
            self.fail(f"{text!r} is none of {', '.join(choices)}")
        return choices[text]

    def parsed(self, parse: Callable[[str], T]) -> T:
        """Return what `parse` makes of the text that stands here; its ValueError tells what is wrong."""
        try:
            return parse(self.text())
        except ValueError as error:
            self.fail(str(error))

    def _expected(self, kind: str, remedy: str = "") -> NoReturn:
        found = _KINDS.get(type(self.value), type(self.value).__name__)
        shown = f" {self.value!r}" if isinstance(self.value, str | int | float) else ""
        self.fail(f"must be {kind}, not {found}{shown}{remedy}")
