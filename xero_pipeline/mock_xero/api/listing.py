"""GET Invoices and CreditNotes: the documents that match a request, page by page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xero_pipeline.mock_xero.api.rendering import Renderer
from xero_pipeline.mock_xero.api.where import Filter, parse_filter, sort_by
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentLine, DocumentStatus, TaxTreatment
from xero_pipeline.mock_xero.books.ledger import FIRST_DAY, WEEKS_TO_PAY
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.messages import MockRequest
from xero_pipeline.mock_xero.problems import ValidationProblem

Json = dict[str, Any]

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_KINDS = {
    "Invoices": (DocumentKind.SALE, DocumentKind.BILL),
    "CreditNotes": (DocumentKind.SALE_CREDIT, DocumentKind.BILL_CREDIT),
}
_TYPES = {"Invoices": "Invoice", "CreditNotes": "CreditNote"}


@dataclass(frozen=True, slots=True)
class _ListQuery:
    """A list request, parsed."""

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
    """Answers requests for one organisation's documents."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._renderer = Renderer(books.organisation)

    def answer(self, container: str, request: MockRequest, *, ignore_dates: bool = False) -> Json:
        """The JSON of a list of documents; `container` is `Invoices` or `CreditNotes`.

        Raises:
            ValidationProblem: Xero would reject a parameter.
            QueryProblem: Xero would reject `where` or `order`.
        """
        query = self._parse_query(container, request)
        documents = [
            document for document in self._find_candidates(query, ignore_dates) if document.kind in _KINDS[container]
        ]
        if not ignore_dates:
            documents = [document for document in documents if query.where.test(self._renderer.fields(document))]
        documents = [document for document in documents if self._is_match(document, query)]
        self._sort(container, documents, query.order)
        json: Json = {}
        count = len(documents)
        if query.page is not None:
            start = (query.page - 1) * query.page_size
            documents = documents[start : start + query.page_size]
            json["pagination"] = {
                "page": query.page,
                "pageSize": query.page_size,
                "pageCount": -(-count // query.page_size),
                "itemCount": count,
            }
        with_lines = query.page is not None and not query.summary
        json[container] = [self._renderer.render(document, with_lines=with_lines) for document in documents]
        return json

    def answer_document(self, container: str, id_or_number: str) -> Json | None:
        """The JSON of one document with its lines, by its id or number; `None` if there is none."""
        document = self._find(id_or_number)
        if document is None or document.kind not in _KINDS[container]:
            return None
        return {container: [self._renderer.render(document, with_lines=True)]}

    def _find(self, id_or_number: str) -> Document | None:
        try:
            return self._books.document(id_or_number)
        except KeyError:
            return self._books.find_by_number(id_or_number)

    def _is_match(self, document: Document, query: _ListQuery) -> bool:
        contact = str(self._renderer.fields(document)["Contact.ContactID"]) if query.contacts else ""
        return (
            (not query.statuses or document.status.value in query.statuses)
            and (not query.ids or document.id in query.ids)
            and (not query.numbers or document.number in query.numbers)
            and (not query.contacts or contact in query.contacts)
            and (query.since is None or document.updated_at >= query.since)
        )

    def _find_candidates(self, query: _ListQuery, ignore_dates: bool) -> Iterator[Document]:
        """The documents that can match, chosen by date or by time of change; `_is_match` and `where` decide."""
        today = self._books.today
        if ignore_dates:
            return iter(self._books.documents((today - dt.timedelta(weeks=8), today)))
        first, last = query.where.first or FIRST_DAY, query.where.last or dt.date.max
        if query.since is None:
            return iter(self._books.documents((first, last)))
        # A generated document changes only on its own day and, if payments touch documents, when it is paid.
        early = query.since.date() - dt.timedelta(days=1)
        if self._books.organisation.payments_touch_documents:
            early -= dt.timedelta(weeks=WEEKS_TO_PAY)
        documents = {document.id: document for document in self._books.documents((max(first, early), last))}
        documents |= {document.id: document for document in self._books.find_edited_since(query.since)}
        return iter(documents.values())

    def _sort(self, container: str, documents: list[Document], order: str | None) -> None:
        documents.sort(key=lambda document: (document.updated_at, document.id))
        if order:
            example = self._renderer.fields(_EXAMPLES[container])
            sort_by(order, documents, self._renderer.fields, example, _TYPES[container])

    def _parse_query(self, container: str, request: MockRequest) -> _ListQuery:
        invoices = container == "Invoices"
        example = self._renderer.fields(_EXAMPLES[container])
        where = request.parameter("where")
        # Credit notes have no filter by status or number: Xero ignores one.
        statuses = _split_parameter(request, "Statuses") if invoices else frozenset()
        unknown = statuses - set(DocumentStatus)
        if unknown:
            raise ValidationProblem(f"'{sorted(unknown)[0]}' is not a valid invoice status")
        page = request.parameter("page")
        return _ListQuery(
            where=parse_filter(where, example, _TYPES[container]) if where else Filter(lambda _fields: True),
            statuses=statuses,
            ids=frozenset(text.lower() for text in _split_parameter(request, "IDs")) if invoices else frozenset(),
            numbers=_split_parameter(request, "InvoiceNumbers") if invoices else frozenset(),
            contacts=frozenset(text.lower() for text in _split_parameter(request, "ContactIDs"))
            if invoices
            else frozenset(),
            since=parse_modified_since(request),
            order=request.parameter("order"),
            page=None if page is None else _parse_whole_number(page, "page", 1, None),
            page_size=_parse_whole_number(
                request.parameter("pageSize") or str(PAGE_SIZE), "pageSize", 1, MAX_PAGE_SIZE
            ),
            summary=(request.parameter("summaryOnly") or "").lower() == "true",
        )


def parse_modified_since(request: MockRequest) -> dt.datetime | None:
    """`If-Modified-Since` in UTC, as ISO 8601 or as an HTTP date; `None` if missing or unreadable."""
    text = request.header("If-Modified-Since").strip()
    if not text:
        return None
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d", "%a, %d %b %Y %H:%M:%S GMT"):
        try:
            return dt.datetime.strptime(text.removesuffix("Z").removesuffix("+00:00"), form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
    return None


def _split_parameter(request: MockRequest, name: str) -> frozenset[str]:
    return frozenset(word.strip() for word in (request.parameter(name) or "").split(",") if word.strip())


def _parse_whole_number(text: str, name: str, least: int, most: int | None) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
        limit = f" between {least} and {most}" if most is not None else f" of {least} or more"
        raise ValidationProblem(f"{name} must be a whole number{limit}")
    return int(text)


def _make_example(kind: DocumentKind) -> Document:
    """A document whose fields show the type of each field to the filter parser."""
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


_EXAMPLES = {"Invoices": _make_example(DocumentKind.SALE), "CreditNotes": _make_example(DocumentKind.SALE_CREDIT)}
