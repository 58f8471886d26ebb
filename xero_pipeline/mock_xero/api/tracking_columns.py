"""The columns of a profit and loss report by tracking category.

Xero's documentation ("Reports", `trackingCategoryID`): a category gives a column for each of its options, a second
category a column for each combination, and an option one column alone. Xero's own page adds "Unassigned" and
"Total"; that its API does so too could not be confirmed.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from xero_pipeline.mock_xero.api.rendering import derive_option_id, derive_tracking_id
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.figures import Credits
from xero_pipeline.mock_xero.books.tracking import OptionPair, sum_tracked_credits
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.messages import MockRequest
from xero_pipeline.mock_xero.problems import ValidationProblem

UNASSIGNED = "Unassigned"


@dataclass(frozen=True, slots=True)
class ReportColumn:
    title: str
    credits: Credits


@dataclass(frozen=True, slots=True)
class _Choice:
    """A requested category, by its place in `chart.TRACKING`, and the options to show; `None` is unassigned."""

    place: int
    options: tuple[str | None, ...]


def list_tracking_columns(
    books: Books, days: tuple[dt.date, dt.date], request: MockRequest, *, cash_basis: bool
) -> list[ReportColumn]:
    """The columns that the tracking parameters ask for; none if there are no such parameters.

    Raises:
        ValidationProblem: a parameter names nothing that exists, or an option stands without its category.
    """
    read = [_read_choice(request, books.organisation.tenant_id, number) for number in (1, 2)]
    choices = [choice for choice in read if choice is not None]
    if not choices:
        return []
    if request.parameter("periods"):
        raise ValidationProblem("The periods cannot be combined with a tracking category")
    totals = sum_tracked_credits(books, days, cash_basis=cash_basis)
    columns = [
        ReportColumn(
            ", ".join(option or UNASSIGNED for option in options),
            _sum_matching(totals, {choice.place: option for choice, option in zip(choices, options, strict=True)}),
        )
        for options in product(*(choice.options for choice in choices))
    ]
    if len(columns) > 1:
        columns.append(ReportColumn("Total", _sum_credits(column.credits for column in columns)))
    return columns


def _read_choice(request: MockRequest, tenant_id: str, number: int) -> _Choice | None:
    suffix = "" if number == 1 else str(number)
    category_id = (request.parameter(f"trackingCategoryID{suffix}") or "").lower()
    option_id = (request.parameter(f"trackingOptionID{suffix}") or "").lower()
    if not category_id:
        if option_id:
            raise ValidationProblem(
                f"TrackingCategoryID{number} must be provided if a TrackingOptionID{number} is provided."
            )
        return None
    for place, (category, options) in enumerate(chart.TRACKING.items()):
        if derive_tracking_id(tenant_id, category) == category_id:
            chosen = [option for option in options if derive_option_id(tenant_id, category, option) == option_id]
            if option_id and not chosen:
                raise ValidationProblem(f"The TrackingOptionID{number} is not an option of the tracking category")
            return _Choice(place, tuple(chosen) if option_id else (*options, None))
    raise ValidationProblem(f"The TrackingCategoryID{number} is not a tracking category of the organisation")


def _sum_matching(totals: Mapping[OptionPair, Credits], wanted: Mapping[int, str | None]) -> Credits:
    return _sum_credits(
        credits for pair, credits in totals.items() if all(pair[place] == option for place, option in wanted.items())
    )


def _sum_credits(parts: Iterable[Credits]) -> Credits:
    total: Credits = Counter()
    for part in parts:
        total.update(part)
    return total
