"""Reads a list of documents to its last page, and makes sure that no document was missed.

A document that leaves a list between two pages moves the others up, so one of them is on no page that is read; another
that enters can make the count right again. So after a list of several pages, one call asks what has changed since the
first page. The list is right if it has as many documents as Xero counts on each of its pages, and each document that
was edited meanwhile is in the list as it is now, or outside of it now and not in it. Only if that is not so, the list
is read again.

Sources: Xero's "Invoices" and "CreditNotes" (pages, `If-Modified-Since`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.periods import Period
from xero_pipeline.weeks import WeekRange
from xero_pipeline.worker_threads import WorkerThreads
from xero_pipeline.xero.errors import PayloadNotUnderstood, XeroUnavailable
from xero_pipeline.xero.readers.document_state import read_document_state
from xero_pipeline.xero.readers.documents import is_counted, is_sale, read_document_date
from xero_pipeline.xero.readers.reports import Difference
from xero_pipeline.xero.reading import begin_reading

Json = dict[str, Any]

# Xero allows up to 1,000 documents a page. The larger the page, the fewer calls a week costs.
PAGE_SIZE = 1000
# A list of several pages is read at most this often until it is known to be whole.
MAX_READINGS = 4
# A limit against a server that announces pages without end.
MAX_PAGES = 10_000
# So many pages are fetched side by side. Each of them is in memory until it has been reduced.
PAGES_AT_ONCE = 3
# Xero compares `If-Modified-Since` to the second.
_SINCE_OVERLAP = timedelta(seconds=2)


class DocumentSink(Protocol):
    """Receives the documents of one list, page after page, and keeps of them what its owner needs."""

    def reduce(self, document: Json) -> Any:
        """Return what is kept of a document. Called from several threads."""
        ...

    def clear(self) -> None:
        """Forget the list: it is read again from its first page."""
        ...

    def add(self, page: Mapping[str, Any]) -> bool:
        """Add a page, by document key, and return whether any document is new."""
        ...

    def __len__(self) -> int:
        """The number of different documents."""
        ...

    def list_keys(self) -> Iterator[str]:
        """The documents' keys, sorted."""
        ...

    def find_figures(self, keys: Iterable[str]) -> dict[str, str]:
        """The `DocumentState.figures` of those documents that are in the list, by key."""
        ...


@dataclass
class DocumentsInMemory:
    """Keeps whole documents."""

    documents: dict[str, Json] = field(default_factory=dict)

    def reduce(self, document: Json) -> Json:
        return document

    def clear(self) -> None:
        self.documents.clear()

    def add(self, page: Mapping[str, Json]) -> bool:
        has_new = not page.keys() <= self.documents.keys()
        self.documents.update(page)
        return has_new

    def __len__(self) -> int:
        return len(self.documents)

    def list_keys(self) -> Iterator[str]:
        return iter(sorted(self.documents))

    def find_figures(self, keys: Iterable[str]) -> dict[str, str]:
        return {key: read_document_state(self.documents[key]).figures for key in keys if key in self.documents}


@dataclass(frozen=True)
class DocumentListRequest:
    """A list as it is requested.

    Attributes:
        container: the list's name in Xero's answer, and of its endpoint.
        method: xero-python's method.
        key: the field of a document's id.
        filters: the arguments that choose the documents.
        contains: whether a document belongs to the list, by its present state.
    """

    container: str
    method: str
    key: str
    filters: Mapping[str, Any]
    contains: Callable[[Json], bool] = lambda _document: True


def request_invoices(weeks: Period | WeekRange) -> DocumentListRequest:
    """Sales invoices of these weeks, authorised or paid."""
    filters = {"where": _filter_by_week(weeks, "ACCREC"), "statuses": ["AUTHORISED", "PAID"]}

    def contains(document: Json) -> bool:
        return is_sale(document) and is_counted(document) and _is_within(document, weeks)

    return DocumentListRequest("Invoices", "get_invoices", "InvoiceID", filters, contains)


def request_credit_notes(weeks: Period | WeekRange) -> DocumentListRequest:
    """Credit notes to customers of these weeks, in every status."""
    filters = {"where": _filter_by_week(weeks, "ACCRECCREDIT")}

    def contains(document: Json) -> bool:
        return is_sale(document) and _is_within(document, weeks)

    return DocumentListRequest("CreditNotes", "get_credit_notes", "CreditNoteID", filters, contains)


def request_changed_invoices(since: datetime) -> DocumentListRequest:
    """Every invoice and bill that was created, edited, voided or deleted since then."""
    return DocumentListRequest("Invoices", "get_invoices", "InvoiceID", {"if_modified_since": since})


def request_changed_credit_notes(since: datetime) -> DocumentListRequest:
    return DocumentListRequest("CreditNotes", "get_credit_notes", "CreditNoteID", {"if_modified_since": since})


def _filter_by_week(weeks: Period | WeekRange, document_type: str) -> str:
    end = weeks.ending + timedelta(days=1)
    return f'Date>=DateTime({weeks.start:%Y, %m, %d}) AND Date<DateTime({end:%Y, %m, %d}) AND Type=="{document_type}"'


def _is_within(document: Json, weeks: Period | WeekRange) -> bool:
    return weeks.start <= read_document_date(document) <= weeks.ending


class ListReader:
    """Reads lists of one organisation.

    Args:
        get: sends the request for one page, and returns its payload.
        owner: the organisation's name, for errors.
    """

    def __init__(self, get: Callable[..., Json], owner: str) -> None:
        self._get = get
        self._owner = owner

    def read(self, request: DocumentListRequest, sink: DocumentSink) -> Difference | None:
        """Read a list of weeks into the sink, ordered by a key that no edit changes.

        Returns:
            The difference, if Xero counts more or fewer documents than it lists.

        Raises:
            XeroUnavailable: the list changed each time that it was read.
        """
        previous = None
        for _ in range(MAX_READINGS):
            sink.clear()
            with begin_reading() as reading:
                result = self._read_once(request, sink)
            if not result.stuck_at:
                keys = _hash_keys(sink)
                is_whole = result.pages <= 1 or keys == previous
                if is_whole or self._is_proven(request, sink, result, reading.began_at):
                    return result.compare_count(request.container, len(sink))
                previous = keys
        self._raise_if_stuck(result, request)
        raise XeroUnavailable(
            f"The list of {request.container} of {self._owner} was read {MAX_READINGS} times and changed each time.",
            advice="Somebody is editing these documents; the next sync tries again.",
        )

    def read_changes(self, request: DocumentListRequest, sink: DocumentSink) -> None:
        """Read what was edited, once: no document ever leaves that list, so no page can lose one meanwhile."""
        sink.clear()
        self._raise_if_stuck(self._read_once(request, sink), request)

    def count(self, request: DocumentListRequest) -> int | None:
        """Ask how many documents the list has; `None` if the server does not count its pages. One call."""
        payload = self._fetch(request, 1, 1)
        _read_rows(payload, request)
        pagination = payload.get("pagination")
        return None if pagination is None else _read_pagination(pagination, request.container)[1]

    def _is_proven(
        self, request: DocumentListRequest, sink: DocumentSink, result: _ListReading, began_at: datetime | None
    ) -> bool:
        """Whether no edit since the first page can have hidden a document. One call."""
        if began_at is None or result.counts != {len(sink)}:
            return False
        filters = {"if_modified_since": began_at - _SINCE_OVERLAP}
        changed = DocumentsInMemory()
        self.read_changes(DocumentListRequest(request.container, request.method, request.key, filters), changed)
        try:
            listed = sink.find_figures(changed.documents)
            return all(
                listed.get(key) == (read_document_state(document).figures if request.contains(document) else None)
                for key, document in changed.documents.items()
            )
        except PayloadNotUnderstood:
            return False

    def _read_once(self, request: DocumentListRequest, sink: DocumentSink) -> _ListReading:
        result = _ListReading()
        page, last_page, known_pages = 1, 1, 0
        pending: dict[int, Future[_Page]] = {}
        with WorkerThreads(PAGES_AT_ONCE, "xero-pages") as threads:
            while page <= last_page:
                for number in range(page, min(page + PAGES_AT_ONCE, known_pages + 1)):
                    if number not in pending:
                        pending[number] = threads.submit(partial(self._fetch_page, request, number, sink))
                fetched = pending.pop(page).result() if page in pending else self._fetch_page(request, page, sink)
                has_new = sink.add(fetched.documents)
                if fetched.pagination is None:
                    # The server does not count its pages: continue until a page has nothing new.
                    last_page, result.pages = (page + 1, page) if has_new else (page, result.pages)
                else:
                    last_page, result.count = fetched.pagination
                    result.counts.add(result.count)
                    # The largest number of pages counts, even if the list has shrunk to one page since: a document
                    # that moved to the first page was missed.
                    result.pages = max(result.pages, last_page)
                    if not fetched.documents and result.count == len(sink):
                        # Every document is here, however many pages Xero announces.
                        break
                    if not has_new and (fetched.documents or page < last_page):
                        # Xero counts wrongly, or documents have come and gone and moved known ones to this page.
                        result.stuck_at = (page, last_page)
                        break
                if page == 1 and result.count and fetched.documents:
                    # As many pages as the count needs can be asked for at once, whatever else Xero announces.
                    known_pages = min(last_page, -(-result.count // len(fetched.documents)))
                page += 1
                if page > MAX_PAGES:
                    raise PayloadNotUnderstood(
                        f"The list of {request.container} of {self._owner} has more than {MAX_PAGES} pages."
                    )
        return result

    def _fetch_page(self, request: DocumentListRequest, page: int, sink: DocumentSink) -> _Page:
        payload = self._fetch(request, page, PAGE_SIZE)
        rows = _read_rows(payload, request)
        pagination = payload.get("pagination")
        documents: dict[str, Any] = {}
        for row in rows:
            documents[normalise_id(str(row[request.key]))] = sink.reduce(row)
        return _Page(documents, None if pagination is None else _read_pagination(pagination, request.container))

    def _fetch(self, request: DocumentListRequest, page: int, size: int) -> Json:
        order = f"{request.key} ASC"
        return self._get(request.container, request.method, order=order, page=page, page_size=size, **request.filters)

    def _raise_if_stuck(self, result: _ListReading, request: DocumentListRequest) -> None:
        if result.stuck_at:
            page, last_page = result.stuck_at
            raise PayloadNotUnderstood(
                f"Xero says that the list of {request.container} of {self._owner} has {last_page} pages, but page "
                f"{page} has nothing that was not on the pages before it."
            )


@dataclass(frozen=True)
class _Page:
    """A page: its reduced documents by key; the number of pages and of documents, if the server counts them."""

    documents: Mapping[str, Any]
    pagination: tuple[int, int | None] | None


@dataclass
class _ListReading:
    """A list that was read once, from its first page to its last.

    Attributes:
        pages: the largest number of pages that the list had during the reading.
        count: how many documents the list has, by Xero's count.
        counts: every such count that a page stated.
        stuck_at: a page that had nothing new, and the number of pages.
    """

    pages: int = 0
    count: int | None = None
    counts: set[int | None] = field(default_factory=set)
    stuck_at: tuple[int, int] | None = None

    def compare_count(self, container: str, listed: int) -> Difference | None:
        if self.count in (None, listed):
            return None
        return Difference(f"the number of {container}", Decimal(self.count or 0), Decimal(listed))


def _hash_keys(sink: DocumentSink) -> bytes:
    keys = hashlib.sha256()
    for key in sink.list_keys():
        keys.update(key.encode() + b"\n")
    return keys.digest()


def _read_rows(payload: Json, request: DocumentListRequest) -> list[Json]:
    rows = payload.get(request.container)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get(request.key) for row in rows):
        raise PayloadNotUnderstood(f"Xero's answer has no list of {request.container}, each with its {request.key}.")
    return rows


def _read_pagination(pagination: object, container: str) -> tuple[int, int | None]:
    try:
        if not isinstance(pagination, dict):
            raise TypeError
        pages = int(pagination["pageCount"])
        count = pagination.get("itemCount")
        return pages, None if count is None else int(count)
    except (KeyError, TypeError, ValueError):
        raise PayloadNotUnderstood(f"The pagination of Xero's {container} is not understood.") from None
