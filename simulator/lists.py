"""Xero's lists of documents: how long their pages are, and what goes wrong between two of them.

Pages are short, so that a few documents fill several. The pages of a longer range are longer in proportion: else most
of a year would be spent on turning the pages of 52 weeks, which are all alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.listing import DocumentListRequest

FAULTS = (
    "page repeated",
    "page vanished",
    "documents twice",
    "count wrong",
    "edited between pages",
    "replaced between pages",
)
"""What happens to lists. In the last one a document leaves the list and another enters it, so that its count is right
although the next page lacks a document."""

_AFTER_THE_FIRST = ("page repeated", "page vanished")
_BEFORE_THE_LAST = ("edited between pages", "replaced between pages")
_DAY = re.compile(r"DateTime\((\d+), (\d+), (\d+)\)")


def choose_page_size(page_size: int, request: DocumentListRequest) -> int:
    """The length of the pages of a list: `page_size` documents for each of its weeks."""
    days = [date(*map(int, found)) for found in _DAY.findall(request.filters.get("where", ""))]
    weeks = (days[1] - days[0]).days // 7 if len(days) == 2 else 2
    return max(1, min(1000, page_size * max(1, weeks)))


@dataclass(frozen=True)
class ListedPage:
    """A page that has been answered. `keys` are its documents' ids, in their order."""

    container: str
    keys: tuple[str, ...]
    first_day: date | None
    end_day: date | None

    def list_weeks(self, known: list[Week]) -> list[Week]:
        """Those of the weeks that the list is of; none if it is a list of changes."""
        if self.first_day is None or self.end_day is None:
            return []
        return [week for week in known if self.first_day <= week.start and week.ending < self.end_day]


@dataclass
class ListFault:
    """A fault of lists that waits for a page that it can spoil: `times` of them. `edit` happens after a page."""

    name: str
    endpoint: str
    times: int
    skip: int = 0
    edit: Callable[[ListedPage, str], bool] = field(default=lambda *_: False, repr=False)
    last_page: Any = field(default=None, repr=False)

    def spoil(self, request: MockRequest, response: MockResponse) -> MockResponse | None:
        """Spoil a page, or return `None` if this page is none that it can spoil."""
        try:
            payload = json.loads(response.body)
            container = next(name for name in ("Invoices", "CreditNotes") if isinstance(payload.get(name), list))
            pages = int(payload["pagination"]["pageCount"])
        except (ValueError, StopIteration, AttributeError, KeyError):
            return None
        page, rows = int(request.parameter("page") or 0), payload[container]
        last_page, self.last_page = self.last_page, rows
        if self.name in _AFTER_THE_FIRST and page == 1:
            return None
        if self.name in _BEFORE_THE_LAST and page >= pages:
            return None
        if self.skip > 0:
            self.skip -= 1
            return None
        if self.name == "page repeated":
            payload[container] = last_page or rows
        elif self.name == "page vanished":
            payload[container] = []
        elif self.name == "documents twice":
            payload[container] = rows + rows[:1]
        elif self.name == "count wrong":
            payload["pagination"]["itemCount"] += 1
        elif not self.edit(_describe(container, rows, request), request.header("xero-tenant-id")):
            return None
        # Decimals are read as floats and written as they were: the mock writes at most four decimals.
        return MockResponse(response.status, response.headers, json.dumps(payload).encode())


def _describe(container: str, rows: list[Any], request: MockRequest) -> ListedPage:
    days = [date(*map(int, found)) for found in _DAY.findall(request.parameter("where") or "")]
    first, end = days if len(days) == 2 else (None, None)
    return ListedPage(container, tuple(str(row[f"{container[:-1]}ID"]).lower() for row in rows), first, end)
