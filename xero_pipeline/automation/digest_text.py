"""The weekly letter as text: the week's figures against the week before and last year, what was restated, and what
needs a person.

It carries figures, so `digest.py` posts it to the addresses in DIGEST_URLS and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from xero_pipeline.warehouse.figures.queries import WeekSummary
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.weeks import Week

_FIGURES = (
    ("Income", "total_trading_income"),
    ("Gross profit", "gross_profit"),
    ("Net profit", "net_profit"),
    ("Net revenue", "net_revenue"),
    ("Cash", "closing_cash"),
)
_MOST_RESTATED = 10
_MOST_PROBLEMS = 20
_AMOUNT = re.compile(r"-?\d+\.\d{2}")


@dataclass(frozen=True, slots=True)
class OrganisationFigures:
    """One organisation's three weeks; `None` for a week without figures."""

    tenant_id: str
    name: str
    week: WeekSummary | None
    before: WeekSummary | None
    last_year: WeekSummary | None


@dataclass(frozen=True, slots=True)
class Digest:
    """What the letter says. `restated` has the newest first, `since` is the last letter's time."""

    week: Week
    organisations: Sequence[OrganisationFigures]
    restated: Sequence[Restatement]
    since: date
    problems: Sequence[str]
    page: str
    names: dict[str, str] = field(default_factory=dict)
    """The names of all organisations, by tenant id."""

    @property
    def title(self) -> str:
        """The subject. It has no figures, since a locked screen may show it."""
        names = [organisation.name for organisation in self.organisations]
        of = names[0] if len(names) == 1 else f"{len(names)} organisations" if names else "no figures yet"
        return f"The week ending {_format_day(self.week.ending)}: {of}"

    @property
    def body(self) -> str:
        sections = [*self._write_figures(), self._write_restated(), self._write_problems()]
        return "\n\n".join([*sections, f"All figures: {self.page}"])

    def _write_figures(self) -> Iterator[str]:
        known = [organisation for organisation in self.organisations if organisation.week is not None]
        if any(one.week and one.week.data_source == "xero_mock" for one in known):
            yield "The mock Xero invents these figures; they are no company's books."
        for organisation in self.organisations:
            if organisation.week is None:
                yield f"{organisation.name}\nThere are no figures of this week yet."
            else:
                yield f"{organisation.name}, in {organisation.week.currency}\n{_compare([organisation])}"
        currencies = dict.fromkeys(one.week.currency for one in known if one.week)
        for currency in currencies:
            together = [one for one in known if one.week and one.week.currency == currency]
            if len(together) > 1:
                yield f"The {len(together)} organisations in {currency} together\n{_compare(together)}"

    def _write_restated(self) -> str:
        heading = f"Restated since {_format_day(self.since)}"
        if not self.restated:
            return f"{heading}\nNothing."
        lines = [
            f"- {self.names.get(one.tenant_id, one.tenant_id)}, {one.week.NOUN} ending {one.week}: {one.row_name}, "
            f"{one.column_name.replace('_', ' ')} {_format_value(one.old_value)} → {_format_value(one.new_value)}"
            for one in self.restated[:_MOST_RESTATED]
        ]
        if len(self.restated) > _MOST_RESTATED:
            lines.append(f"- and {len(self.restated) - _MOST_RESTATED} more figures")
        return "\n".join([heading, *lines])

    def _write_problems(self) -> str:
        if not self.problems:
            return "Needs a person\nNothing."
        lines = [f"- {problem}" for problem in self.problems[:_MOST_PROBLEMS]]
        if len(self.problems) > _MOST_PROBLEMS:
            lines.append(f"- and {len(self.problems) - _MOST_PROBLEMS} more, on the page")
        return "\n".join(["Needs a person", *lines])


def _compare(organisations: Sequence[OrganisationFigures]) -> str:
    """A line for each figure, summed over organisations of one currency."""
    lines = []
    for label, column in _FIGURES:
        now = _sum([one.week for one in organisations], column)
        if now is None:
            lines.append(f"{label}: not known")
            continue
        before = _describe(now, _sum([one.before for one in organisations], column))
        last_year = _describe(now, _sum([one.last_year for one in organisations], column))
        lines.append(f"{label}: {now:,.2f}; week before {before}; last year {last_year}")
    return "\n".join(lines)


def _sum(weeks: Sequence[WeekSummary | None], column: str) -> Decimal | None:
    """The sum of a figure; `None` if one is missing, since a part would pass for the whole."""
    amounts: list[Decimal | None] = [None if week is None else getattr(week, column) for week in weeks]
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def _describe(now: Decimal, then: Decimal | None) -> str:
    if then is None:
        return "not known"
    change = f"{now - then:+,.2f}"
    if then > 0:
        # Against nothing or a loss, a percentage says nothing.
        percent = ((now - then) * 100 / then).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP) + Decimal("0.0")
        change += f", {percent:+,.1f} %"
    return f"{then:,.2f} ({change})"


def _format_value(value: str | None) -> str:
    if value is None:
        return "none"
    return f"{Decimal(value):,.2f}" if _AMOUNT.fullmatch(value) else value


def _format_day(day: date | datetime) -> str:
    return f"{day.day} {day:%B %Y}"
