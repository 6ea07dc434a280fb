"""Tells how far the demo is."""

from __future__ import annotations

import time

import click


class Steps:
    """Callable that prints a line for each step, behind the seconds since it was made; to stderr if `aside`."""

    def __init__(self, *, aside: bool) -> None:
        self._aside = aside
        self._start = time.perf_counter()

    def __call__(self, text: str) -> None:
        """Print a step."""
        elapsed = click.style(f"{time.perf_counter() - self._start:6.1f} s", dim=True)
        click.echo(f"{elapsed}  {text}", err=self._aside)
