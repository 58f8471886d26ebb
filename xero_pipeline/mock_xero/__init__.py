"""A mock Xero inside the process: Xero's paths, JSON, headers, limits and errors, over made-up books.

One SQLite file stores its state (issued tokens, edits, faults, counted calls), so that every process of a
deployment talks to the same Xero. Outside this package, only the place that picks the transport knows that
Xero is a mock.
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
