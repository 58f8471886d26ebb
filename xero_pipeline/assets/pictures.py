"""A small picture of the last weeks, for Dagster's pages: an SVG inside markdown, with its newest figures in words.

Dagster's pages draw an image from a data address, and show markdown at once only below a thousand characters;
and events are kept for ever. So the drawing is as short as it can be. The admin page has the real charts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from itertools import pairwise
from urllib.parse import quote

from xero_pipeline.weeks import Week

WEEKS_SHOWN = 26

_WIDTH, _HEIGHT = 352, 84
_LEFT, _TOP, _BOTTOM, _STEP = 38, 20, 78, 12
_AREA, _LINE, _INK = "#59c", "#c50", "#555"

Values = Mapping[Week, Decimal]


@dataclass(frozen=True)
class Curve:
    name: str
    values: Values


@dataclass(frozen=True)
class Chart:
    """One organisation's weeks: an area, and a line over it where there is one."""

    organisation: str
    currency: str
    area: Curve
    line: Curve | None = None

    @property
    def curves(self) -> list[Curve]:
        return [self.area, self.line] if self.line else [self.area]

    @property
    def weeks(self) -> list[Week]:
        """Every week from the first to the last that has a figure, as many as are shown."""
        held = [week for curve in self.curves for week in curve.values]
        if not held:
            return []
        last = max(held)
        first = max(min(held), last.shift(1 - WEEKS_SHOWN))
        return [first.shift(n) for n in range((last.ending - first.ending).days // 7 + 1)]


def chart_markdown(chart: Chart) -> str:
    """The newest week's figures, and the drawing; empty for a chart without any figure."""
    weeks = chart.weeks
    if not weeks:
        return ""
    newest = [f"{curve.name} {curve.values[weeks[-1]]:,.2f}" for curve in chart.curves if weeks[-1] in curve.values]
    name = "".join(" " if character in "[]()<>*_`\\\n" else character for character in chart.organisation)
    return (
        f"{name}, {len(weeks)} weeks to {weeks[-1]}: {', '.join(newest)} {chart.currency}\n\n"
        f"![drawn](<data:image/svg+xml,{quote(_svg(chart), safe=_KEPT)}>)"
    )


# What may stand in an address between angle brackets as it is, and in an SVG's attribute.
_KEPT = " ='/:;,.!()&-+*~"


def _svg(chart: Chart) -> str:
    weeks = chart.weeks
    amounts = [float(curve.values[week]) for curve in chart.curves for week in weeks if week in curve.values]
    lowest, highest = min([0.0, *amounts]), max([0.0, *amounts])

    def y(amount: Decimal | float) -> int:
        return round(_BOTTOM - (float(amount) - lowest) / (highest - lowest or 1.0) * (_BOTTOM - _TOP))

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}' "
        f"style='font:10px sans-serif' fill='{_INK}'><path fill='#fff' d='M0 0h{_WIDTH}v{_HEIGHT}H0'/>",
        f"<path fill='{_AREA}' d='{_area([y(chart.area.values.get(week, 0)) for week in weeks], y(0))}'/>",
        _text(_LEFT, 12, chart.area.name, _AREA),
    ]
    if chart.line:
        points = [(n * _STEP + _STEP // 2, y(amount)) for n, amount in _known(chart.line, weeks)]
        parts.append(f"<path fill='none' stroke='{_LINE}' stroke-width='2' d='{_polyline(points)}'/>")
        parts.append(_text(_WIDTH // 2, 12, chart.line.name, _LINE))
    # Close to the line of nothing there is no room for a second label.
    labelled = [amount for amount in (lowest, highest) if abs(y(amount) - y(0)) > 9]
    parts += [_text(2, y(amount) + 4, _short(amount)) for amount in (*labelled, 0.0)]
    return "".join([*parts, "</svg>"])


def _known(curve: Curve, weeks: Sequence[Week]) -> list[tuple[int, Decimal]]:
    return [(number, curve.values[week]) for number, week in enumerate(weeks) if week in curve.values]


def _area(heights: Sequence[int], nothing: int) -> str:
    """A step for each week, from the line of nothing and back to it."""
    steps, at = [f"M{_LEFT} {nothing}"], nothing
    for height in heights:
        steps.append((f"v{height - at}" if height != at else "") + f"h{_STEP}")
        at = height
    return "".join([*steps, f"V{nothing}"])


def _polyline(points: Sequence[tuple[int, int]]) -> str:
    if not points:
        return ""
    drawn = f"M{_LEFT + points[0][0]} {points[0][1]}l"
    # A line of one point would not be seen.
    moves = [(x - w, y - z) for (w, z), (x, y) in pairwise(points)] or [(1, 0)]
    return drawn + " ".join(f"{x}{y}" if y < 0 else f"{x} {y}" for x, y in moves)


def _short(amount: float) -> str:
    for size, unit in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if abs(amount) >= size:
            return f"{amount / size:.3g}{unit}"
    return f"{amount:.0f}"


def _text(x: int, y: int, text: str, color: str = "") -> str:
    fill = f" fill='{color}'" if color else ""
    return f"<text x='{x}' y='{y}'{fill}>{escape(text)}</text>"
