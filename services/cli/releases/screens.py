"""What is shown of a release that is followed: the whole of it on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from predictmesh.registry.v1.release_service_pb2 import GetReleaseResponse
from services.cli.output import plain, print_line
from services.cli.releases.report import print_release, state_of, step_of

Show = Callable[[GetReleaseResponse], None]


def screen(*, as_json: bool) -> Show:
    """Return what shows a release each time that it was looked at."""
    if not as_json and sys.stdout.isatty():
        return _redraw
    return OnChange(_print_json if as_json else _print_step)


class OnChange:
    """Hands a release on when its state or step is another than before."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._seen: object = None

    def __call__(self, response: GetReleaseResponse) -> None:
        """Look at the release."""
        standing = (response.release.state, response.release.step)
        if standing != self._seen:
            self._seen = standing
            self._show(response)


def _redraw(response: GetReleaseResponse) -> None:
    click.clear()
    print_release(response)


def _print_json(response: GetReleaseResponse) -> None:
    print_line(plain(response))


def _print_step(response: GetReleaseResponse) -> None:
    release = response.release
    line = f"{release.state_time.ToJsonString()}  {release.candidate} {state_of(release)}, {step_of(release)}"
    # At once: it may be long until the next.
    print(f"{line}\n    {release.reason}" if release.reason else line, flush=True)
