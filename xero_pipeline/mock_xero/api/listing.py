"""GET Invoices and CreditNotes: which documents a request means, page by page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xero_pipeline.mock_xero.api.rendering import Renderer
from xero_pipeline.mock_xero.api.where import Filter, read_filter, sort_by
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentLine, DocumentStatus, TaxTreatment
from xero_pipeline.mock_xero.books.ledger import FIRST_DAY, WEEKS_TO_PAY
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.messages import MockRequest
from xero_pipeline.mock_xero.problems import ValidationProblem

Json = dict[str, Any]

PAGE_SIZE = 100
LARGEST_PAGE = 1000

_KINDS = {
    "Invoices": (DocumentKind.SALE, DocumentKind.BILL),
    "CreditNotes": (DocumentKind.SALE_CREDIT, DocumentKind.BILL_CREDIT),
}
_TYPES = {"Invoices": "Invoice", "CreditNotes": "CreditNote"}


@dataclass(frozen=True, slots=True)
class _ListQuery:
    """What a request asks for."""

    where: Filter
    statuses: frozenset[str]
    ids: frozenset[str]
    numbers: frozenset[str]
    contacts: frozenset[str]
    since: dt.datetime | None
    order: str | None
    page: int | None
    page_size: int
    summary: bool


class ListEndpoint:
    """One organisation's documents for a request."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._renderer = Renderer(books.organisation)

    def answer(self, container: str, request: MockRequest, *, ignore_dates: bool = False) -> Json:
        """The JSON of a list.

        Raises:
            ValidationProblem, QueryProblem: the request is not one that Xero takes.
        """
        asked = self._read(container, request)
        found = [one for one in self._candidates(asked, ignore_dates) if one.kind in _KINDS[container]]
        if not ignore_dates:
            found = [one for one in found if asked.where.test(self._renderer.fields(one))]
        found = [one for one in found if self._is_asked(one, asked)]
        self._sort(container, found, asked.order)
        json: Json = {}
        count = len(found)
        if asked.page is not None:
            start = (asked.page - 1) * asked.page_size
            found = found[start : start + asked.page_size]
            json["pagination"] = {
                "page": asked.page,
                "pageSize": asked.page_size,
                "pageCount": -(-count // asked.page_size),
                "itemCount": count,
            }
        with_lines = asked.page is not None and not asked.summary
        json[container] = [self._renderer.document(one, with_lines=with_lines) for one in found]
        return json

    def one(self, container: str, wanted: str) -> Json | None:
        """The JSON of one document by its id or number, with its lines; `None` where there is none."""
        document = self._find(wanted)
        if document is None or document.kind not in _KINDS[container]:
            return None
        return {container: [self._renderer.document(document, with_lines=True)]}

    def _find(self, wanted: str) -> Document | None:
        try:
            return self._books.document(wanted)
        except KeyError:
            return self._books.numbered(wanted)

    def _is_asked(self, one: Document, asked: _ListQuery) -> bool:
        contact = str(self._renderer.fields(one)["Contact.ContactID"]) if asked.contacts else ""
        return (
            (not asked.statuses or one.status.value in asked.statuses)
            and (not asked.ids or one.id in asked.ids)
            and (not asked.numbers or one.number in asked.numbers)
            and (not asked.contacts or contact in asked.contacts)
            and (asked.since is None or one.updated_at >= asked.since)
        )

    def _candidates(self, asked: _ListQuery, ignore_dates: bool) -> Iterator[Document]:
        """Documents worth a look: those whose dates, or whose changes, can be meant."""
        today = self._books.today
        if ignore_dates:
            return iter(self._books.documents((today - dt.timedelta(weeks=8), today)))
        first, last = asked.where.first or FIRST_DAY, asked.where.last or dt.date.max
        if asked.since is None:
            return iter(self._books.documents((first, last)))
        # A document of the ledger changes on its own day, and when it is paid, and no more.
        early = asked.since.date() - dt.timedelta(days=1)
        if self._books.organisation.payments_touch_documents:
            early -= dt.timedelta(weeks=WEEKS_TO_PAY)
        found = {one.id: one for one in self._books.documents((max(first, early), last))}
        found |= {one.id: one for one in self._books.edited_since(asked.since)}
        return iter(found.values())

    def _sort(self, container: str, found: list[Document], order: str | None) -> None:
        found.sort(key=lambda one: (one.updated_at, one.id))
        if order:
            example = self._renderer.fields(_EXAMPLES[container])
            sort_by(order, found, self._renderer.fields, example, _TYPES[container])

    def _read(self, container: str, request: MockRequest) -> _ListQuery:
        invoices = container == "Invoices"
        example = self._renderer.fields(_EXAMPLES[container])
        where = request.parameter("where")
        # Credit notes have no filter by status or number: Xero takes no notice of one.
        statuses = _words(request, "Statuses") if invoices else frozenset()
        unknown = statuses - set(DocumentStatus)
        if unknown:
            raise ValidationProblem(f"'{sorted(unknown)[0]}' is not a valid invoice status")
        page = request.parameter("page")
        return _ListQuery(
            where=read_filter(where, example, _TYPES[container]) if where else Filter(lambda _fields: True),
            statuses=statuses,
            ids=frozenset(one.lower() for one in _words(request, "IDs")) if invoices else frozenset(),
            numbers=_words(request, "InvoiceNumbers") if invoices else frozenset(),
            contacts=frozenset(one.lower() for one in _words(request, "ContactIDs")) if invoices else frozenset(),
            since=read_since(request),
            order=request.parameter("order"),
            page=None if page is None else _whole(page, "page", 1, None),
            page_size=_whole(request.parameter("pageSize") or str(PAGE_SIZE), "pageSize", 1, LARGEST_PAGE),
            summary=(request.parameter("summaryOnly") or "").lower() == "true",
        )


def read_since(request: MockRequest) -> dt.datetime | None:
    """`If-Modified-Since`: UTC to the second, as ISO 8601 or as an HTTP date; nonsense is no filter."""
    text = request.header("If-Modified-Since").strip()
    if not text:
        return None
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d", "%a, %d %b %Y %H:%M:%S GMT"):
        try:
            return dt.datetime.strptime(text.removesuffix("Z").removesuffix("+00:00"), form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
    return None


def _words(request: MockRequest, name: str) -> frozenset[str]:
    return frozenset(word.strip() for word in (request.parameter(name) or "").split(",") if word.strip())


def _whole(text: str, name: str, least: int, most: int | None) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
        limit = f" between {least} and {most}" if most is not None else f" of {least} or more"
        raise ValidationProblem(f"{name} must be a whole number{limit}")
    return int(text)


def _example(kind: DocumentKind) -> Document:
    """A document whose fields show the type of each."""
    moment = dt.datetime(2015, 1, 1, tzinfo=dt.UTC)
    return Document(
        kind=kind,
        id="00000000-0000-4000-8000-000000000000",
        number="",
        date=moment.date(),
        due=moment.date(),
        status=DocumentStatus.DRAFT,
        tax=TaxTreatment.NONE,
        currency="",
        rate=None,
        contact="",
        lines=(DocumentLine(0, 0, "200"),),
        created_at=moment,
        updated_at=moment,
    )


_EXAMPLES = {"Invoices": _example(DocumentKind.SALE), "CreditNotes": _example(DocumentKind.SALE_CREDIT)}
