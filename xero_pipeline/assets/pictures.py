"""A small chart of the last weeks for Dagster's UI: an SVG image inside markdown, with the newest figures as text.

Dagster's UI shows an image from a data URL. It hides markdown of more than 1000 characters behind a click, and it
stores events for ever. So the SVG is as short as possible. The admin page has the full charts.
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

# The characters of an SVG that need no percent-encoding in a data URL between angle brackets.
_SAFE_CHARACTERS = " ='/:;,.!()&-+*~"


@dataclass(frozen=True)
class Curve:
    name: str
    values: Mapping[Week, Decimal]


@dataclass(frozen=True)
class Chart:
    """One organisation's weeks, drawn as an area, with or without a line over it."""

    organisation: str
    currency: str
    area: Curve
    line: Curve | None = None

    @property
    def curves(self) -> list[Curve]:
        return [self.area, self.line] if self.line else [self.area]

    @property
    def weeks(self) -> list[Week]:
        """Every week from the first to the last one with a figure, but no more than the last `WEEKS_SHOWN`."""
        weeks = [week for curve in self.curves for week in curve.values]
        if not weeks:
            return []
        last = max(weeks)
        first = max(min(weeks), last.shift(1 - WEEKS_SHOWN))
        return [first.shift(n) for n in range((last.ending - first.ending).days // 7 + 1)]


def render_chart_markdown(chart: Chart) -> str:
    """Render the newest week's figures and the image as markdown; empty for a chart without any figure."""
    weeks = chart.weeks
    if not weeks:
        return ""
    newest = [f"{curve.name} {curve.values[weeks[-1]]:,.2f}" for curve in chart.curves if weeks[-1] in curve.values]
    name = "".join(" " if character in "[]()<>*_`\\\n" else character for character in chart.organisation)
    return (
        f"{name}, {len(weeks)} weeks to {weeks[-1]}: {', '.join(newest)} {chart.currency}\n\n"
        f"![chart](<data:image/svg+xml,{quote(_draw_svg(chart), safe=_SAFE_CHARACTERS)}>)"
    )


def _draw_svg(chart: Chart) -> str:
    weeks = chart.weeks
    amounts = [float(curve.values[week]) for curve in chart.curves for week in weeks if week in curve.values]
    lowest, highest = min([0.0, *amounts]), max([0.0, *amounts])

    def scale(amount: Decimal | float) -> int:
        return round(_BOTTOM - (float(amount) - lowest) / (highest - lowest or 1.0) * (_BOTTOM - _TOP))

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}' "
        f"style='font:10px sans-serif' fill='{_INK}'><path fill='#fff' d='M0 0h{_WIDTH}v{_HEIGHT}H0'/>",
        f"<path fill='{_AREA}' d='{_draw_area([scale(chart.area.values.get(week, 0)) for week in weeks], scale(0))}'/>",
        _draw_text(_LEFT, 12, chart.area.name, _AREA),
    ]
    if chart.line:
        points = [
            (number * _STEP + _STEP // 2, scale(chart.line.values[week]))
            for number, week in enumerate(weeks)
            if week in chart.line.values
        ]
        parts.append(f"<path fill='none' stroke='{_LINE}' stroke-width='2' d='{_draw_line(points)}'/>")
        parts.append(_draw_text(_WIDTH // 2, 12, chart.line.name, _LINE))
    # A label close to the zero line would overlap the label of zero.
    labelled = [amount for amount in (lowest, highest) if abs(scale(amount) - scale(0)) > 9]
    parts += [_draw_text(2, scale(amount) + 4, _abbreviate(amount)) for amount in (*labelled, 0.0)]
    return "".join([*parts, "</svg>"])


def _draw_area(heights: Sequence[int], zero: int) -> str:
    """The path of one step for each week, from the zero line and back to it."""
    steps, previous = [f"M{_LEFT} {zero}"], zero
    for height in heights:
        steps.append((f"v{height - previous}" if height != previous else "") + f"h{_STEP}")
        previous = height
    return "".join([*steps, f"V{zero}"])


def _draw_line(points: Sequence[tuple[int, int]]) -> str:
    if not points:
        return ""
    start = f"M{_LEFT + points[0][0]} {points[0][1]}l"
    # A single point would not be visible, so it becomes a line of one pixel.
    moves = [(right - left, below - above) for (left, above), (right, below) in pairwise(points)] or [(1, 0)]
    return start + " ".join(f"{x}{y}" if y < 0 else f"{x} {y}" for x, y in moves)


def _abbreviate(amount: float) -> str:
    for size, unit in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if abs(amount) >= size:
            return f"{amount / size:.3g}{unit}"
    return f"{amount:.0f}"


def _draw_text(x: int, y: int, text: str, color: str = "") -> str:
    fill = f" fill='{color}'" if color else ""
    return f"<text x='{x}' y='{y}'{fill}>{escape(text)}</text>"
