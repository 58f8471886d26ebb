"""A Xero that lives in the process: the same paths, JSON, headers, limits and errors, over books of its own.

Everything that it remembers (tokens handed out, edits, faults, calls counted) lies in one SQLite file, so
that every process of a deployment talks to one and the same Xero. Nothing outside this package knows that
it is not the real one, but for the place that picks the transport.
"""

from xero_pipeline.mock_xero.books.documents import (
    Document,
    DocumentKind,
    DocumentLine,
    DocumentStatus,
    MockLine,
    TaxTreatment,
)
from xero_pipeline.mock_xero.books.truth import BankMovement, Books, ExpectedProfitAndLoss, ExpectedRevenueCell
from xero_pipeline.mock_xero.faults import FaultKind, MockFault
from xero_pipeline.mock_xero.messages import ConnectionBreak, MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import DEFAULT_ORGANISATIONS, MockLimits, MockOrganisation
from xero_pipeline.mock_xero.transport import MockTransport
from xero_pipeline.mock_xero.xero import MockXero

__all__ = [
    "DEFAULT_ORGANISATIONS",
    "BankMovement",
    "Books",
    "ConnectionBreak",
    "Document",
    "DocumentKind",
    "DocumentLine",
    "DocumentStatus",
    "ExpectedProfitAndLoss",
    "ExpectedRevenueCell",
    "FaultKind",
    "MockFault",
    "MockLimits",
    "MockLine",
    "MockOrganisation",
    "MockRequest",
    "MockResponse",
    "MockTransport",
    "MockXero",
    "TaxTreatment",
]
