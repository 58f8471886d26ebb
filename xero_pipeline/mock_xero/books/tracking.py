"""The credits of a range of days, divided by the tracking options of the lines that they come from."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.truth import Books

OptionPair = tuple[str | None, str | None]
"""An option of each category, in the order of `chart.TRACKING`; `None` where a line has none."""


def sum_tracked_credits(
    books: Books, days: tuple[dt.date, dt.date], *, cash_basis: bool
) -> Mapping[OptionPair, Counter[str]]:
    """The amount credited to each account, by code, in cents, for each pair of options.

    Reads document by document, so it is slower than `figures.py`. Entries that are no documents have no options.
    """
    totals: dict[OptionPair, Counter[str]] = defaultdict(Counter)
    documents = books.find_paid_documents(*days) if cash_basis else books.documents(days)
    for document in documents:
        if not cash_basis and not document.status.is_counted:
            continue
        for line in document.lines:
            pair = _match_option(line.revenue_type, chart.REVENUE_TYPES), _match_option(line.region, chart.REGIONS)
            totals[pair][line.account_code] += document.credit_sign * document.base_net(line)
    for entry in books.iterate_entries(*days):
        if entry.account is not None and (entry.in_cash_basis or not cash_basis):
            totals[None, None][entry.account] += entry.credit
    return totals


def _match_option(given: str | None, options: tuple[str, ...]) -> str | None:
    """The category's option with a line's text; `None` for a text that is no option."""
    return next((option for option in options if given is not None and option.lower() == given.lower()), None)
