"""Samples with values replaced, taken away or doubled: each reader gives figures, differences, or an error with a name.

`MUTATIONS` is the number of cases (200 by default, 100,000 in a nightly run).
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xero_pipeline_tests
from xero_pipeline.errors import PipelineError
from xero_pipeline.weeks import Week
from xero_pipeline.xero.listing import (
    DocumentListRequest,
    DocumentsInMemory,
    ListReader,
    request_changed_credit_notes,
    request_changed_invoices,
)
from xero_pipeline.xero.oauth import read_connections
from xero_pipeline.xero.readers.accounts import keep_accounts, keep_organisation, read_accounts, read_organisation
from xero_pipeline.xero.readers.bank_summary import read_bank_summary
from xero_pipeline.xero.readers.document_heading import read_document_heading
from xero_pipeline.xero.readers.document_state import read_document_state
from xero_pipeline.xero.readers.documents import can_affect_reports
from xero_pipeline.xero.readers.profit_and_loss import read_profit_and_loss
from xero_pipeline.xero.readers.revenue import add_up_revenue, reduce_document
from xero_pipeline_tests.xero.readers.report_payloads import WEEK

CASES = int(os.environ.get("MUTATIONS", "200"))
SAMPLES = Path(xero_pipeline_tests.__file__).parent / "samples"
TRACKING = ("Revenue Type", "Region")
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


def load(name: str) -> Any:
    # As `xero/http/payloads.py` reads an answer.
    return json.loads((SAMPLES / f"{name}.json").read_text(), parse_float=Decimal)


ACCOUNTS = read_accounts(load("accounts"))


def read_list(request: DocumentListRequest) -> Callable[[Any], None]:
    """Read a payload as a page of that list, with its documents."""

    def read(payload: Any) -> None:
        documents = DocumentsInMemory()
        ListReader(lambda *_, **__: payload, "Example").read_changes(request, documents)
        for document in documents.documents.values():
            reduced = reduce_document(document, base_currency="AUD", tracking=TRACKING)
            read_document_state(document)
            can_affect_reports(document)
            read_document_heading(document, currency="AUD", rate=Decimal(1))
            add_up_revenue([reduced], week=Week.containing(reduced.day), tracking=TRACKING)

    return read


READERS: dict[str, Callable[[Any], object]] = {
    "accounts": lambda payload: read_accounts(keep_accounts(payload)),
    "organisation": lambda payload: read_organisation(keep_organisation(payload)),
    "connections": read_connections,
    "bank_summary": lambda payload: read_bank_summary(payload, week=WEEK),
    "profit_and_loss_au": lambda payload: read_profit_and_loss(payload, week=WEEK, accounts=ACCOUNTS),
    "invoices": read_list(request_changed_invoices(SINCE)),
    "credit_notes": read_list(request_changed_credit_notes(SINCE)),
}
PAYLOADS = {name: load(name) for name in READERS}

NASTY = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        10**30,
        Decimal("0.005"),
        Decimal("1e400"),
        Decimal("-1e-400"),
        Decimal("12345678901234567890.12"),
        "",
        " ",
        "NaN",
        "Infinity",
        "1e400",
        "1,2,3",
        "(5.00)",
        "\ud800",
        "\x00",
        "2026-02-30",
        "/Date(99999999999999999)/",
        "/Date(-1)/",
        "0000-00-00T00:00:00",
        "x" * 3000,
        [],
        {},
        [[]],
        [None],
        {"Name": None},
    ]
)


def list_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a payload with each of its keys."""
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from list_places(value[key])
    elif isinstance(value, list):
        for number in range(len(value)):
            yield value, number
            yield from list_places(value[number])


@st.composite
def mutated(draw: st.DrawFn, name: str) -> Any:
    payload = copy.deepcopy(PAYLOADS[name])
    for _ in range(draw(st.integers(1, 3))):
        places = list(list_places(payload))
        if not places:
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        change = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if change == "replace":
            container[key] = copy.deepcopy(draw(NASTY))
        elif change == "remove":
            del container[key]
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return payload


@pytest.mark.parametrize("name", list(READERS))
def test_a_mutated_sample_gives_figures_or_an_error_with_a_name(name: str) -> None:
    @settings(max_examples=max(1, CASES // len(READERS)), deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(name))
    def read(payload: Any) -> None:
        # Any other exception fails the test.
        with suppress(PipelineError):
            READERS[name](payload)

    read()
