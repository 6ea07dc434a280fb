"""The figures as a picture: panels of lines in one SVG, drawn by hand so that nothing needs to be installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_COLOURS = (
    "#4c78a8",
    "#f58518",
    "#54a24b",
    "#b279a2",
    "#9d755d",
    "#72b7b2",
    "#bab0ac",
    "#eeca3b",
    "#e45756",
    "#59636e",
)
_PANEL = (430, 300)
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 34, 46
_KEY_ROW, _KEY_COLUMNS, _KEY_COLUMN = 18, 5, 250


DASHED = ", p99"
"""A line whose name ends so is dashed, and has the colour of the name before it."""


@dataclass(frozen=True)
class Panel:
    """Lines by name, each a value for some of the categories; drawn from zero up to `highest`, or to the largest."""

    title: str
    across: str
    categories: Sequence[str]
    lines: Mapping[str, Mapping[str, float]]
    highest: float = 0


def draw(panels: Sequence[Panel]) -> str:
    """Return the picture; a line of the same name has the same colour in all panels."""
    names = list(dict.fromkeys(name.removesuffix(DASHED) for panel in panels for name in panel.lines))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    width = max(_PANEL[0] * len(panels), _KEY_COLUMN * min(len(names), _KEY_COLUMNS))
    height = _PANEL[1] + _KEY_ROW * (1 + -(-len(names) // _KEY_COLUMNS))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"',
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate({number * _PANEL[0]},0)">', *_panel(panel, colours), "</g>"]
    return "\n".join([*parts, *_key(colours), "</svg>\n"])


def _panel(panel: Panel, colours: Mapping[str, str]) -> Iterator[str]:
    width, height = _PANEL[0] - _LEFT - _RIGHT, _PANEL[1] - _TOP - _BOTTOM
    largest = panel.highest or max(value for line in panel.lines.values() for value in line.values())
    step = _step(largest)

    def y(value: float) -> float:
        return round(_TOP + height * (1 - min(value, largest) / largest), 1)

    places = {
        name: round(_LEFT + width * (number + 0.5) / len(panel.categories), 1)
        for number, name in enumerate(panel.categories)
    }
    yield _text(_LEFT, 20, panel.title, 'font-size="13" font-weight="bold"')
    yield _text(_LEFT + width / 2, _PANEL[1] - 8, panel.across, 'text-anchor="middle"')
    for count in range(int(largest / step) + 1):
        level = y(count * step)
        yield f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{level}" y2="{level}" stroke="#ddd"/>'
        yield _text(_LEFT - 6, level + 4, f"{count * step:g}", 'text-anchor="end"')
    for name, x in places.items():
        yield _text(x, _PANEL[1] - 28, name, 'text-anchor="middle"')
    for name, line in panel.lines.items():
        points = " ".join(f"{places[category]},{y(value)}" for category, value in line.items())
        dashes = 'stroke-dasharray="5 4"' if name.endswith(DASHED) else ""
        colour = colours[name.removesuffix(DASHED)]
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" {dashes}/>'


def _key(colours: Mapping[str, str]) -> Iterator[str]:
    for number, (name, colour) in enumerate(colours.items()):
        x, y = _LEFT + number % _KEY_COLUMNS * _KEY_COLUMN, _PANEL[1] + _KEY_ROW * (1 + number // _KEY_COLUMNS)
        yield f'<line x1="{x}" x2="{x + 20}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>'
        yield _text(x + 26, y, name)


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x}" y="{y}" {attributes}>{escape(text)}</text>'


def _step(largest: float) -> float:
    """Return the distance between lines: 1, 2 or 5 times a power of ten, for at most six of them."""
    return next(
        step
        for power in range(-3, 9)
        for digit in (1, 2, 5)
        if (step := digit * 10.0**power) * 6 >= largest
    )  # fmt: skip
