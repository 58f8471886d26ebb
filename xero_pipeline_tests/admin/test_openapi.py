"""The OpenAPI document describes every response, and no input makes the server fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from xero_pipeline_tests.admin.deployed import API, Page, point_settings_at, serve_page
from xero_pipeline_tests.admin.test_api import ALPHA, BETA, land_week
from xero_pipeline_tests.plain_xero import PlainXero
from xero_pipeline_tests.servers import Answer, ScriptedServer

TOKEN = "the-admin-token-7c1f"

CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.unsupported_method,
    openapi_checks.ignored_auth,
]

OPERATIONS = [
    "GET /api/v1/xero/connect",
    "GET /api/v1/xero/callback",
    "GET /api/v1/xero/status",
    "GET /api/v1/xero/standing",
    "POST /api/v1/xero/disconnect",
    "POST /api/v1/xero/sync",
    "GET /api/v1/xero/runs/{runId}",
    "GET /api/v1/xero/sync-logs",
    "GET /api/v1/xero/reconciliations",
    "POST /api/v1/xero/sync-logs/{logId}/accept",
    "POST /api/v1/xero/scheduler/start",
    "POST /api/v1/xero/scheduler/stop",
    "GET /api/v1/xero/summary",
    "GET /api/v1/xero/weeks/{weekEnding}",
    "GET /api/v1/xero/weeks/{weekEnding}/documents",
    "GET /api/v1/xero/weeks/{weekEnding}/explain",
    "GET /api/v1/xero/months/{monthEnding}",
    "GET /api/v1/xero/restatements",
    "GET /api/v1/xero/export",
    "GET /api/v1/xero/audit",
    "GET /api/v1/xero/sessions",
    "POST /api/v1/xero/sessions/end",
    "GET /api/v1/xero/access",
    "POST /api/v1/xero/access/add",
    "POST /api/v1/xero/access/remove",
    "GET /healthz",
]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Page]:
    """The page with a sign-in, figures, a log and a restatement. Each fuzzed request restores the connections."""
    plain = PlainXero(revocation=Answer(200), **{"connection-t-1": Answer(204), "connection-t-2": Answer(204)})
    home = tmp_path_factory.mktemp("fuzzed")
    with (
        ScriptedServer(plain) as xero,
        serve_page(home, template=migrated, ADMIN_TOKEN=TOKEN, **point_settings_at(xero.url)) as page,
    ):
        for amount in ("10.00", "12.00"):
            land_week(page, amount)
        page.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield page


@pytest.fixture(scope="module")
def document(fuzzed: Page) -> dict[str, Any]:
    openapi: dict[str, Any] = fuzzed.get("/openapi.json").json()
    return openapi


def test_the_document_names_every_path_of_the_contract_and_no_other(document: dict[str, Any]) -> None:
    operations = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    assert sorted(operations) == sorted(OPERATIONS)


def test_every_name_in_the_document_is_camel_case(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            assert "_" not in field, f"{name}.{field}"


def test_every_error_has_the_format_of_the_contract(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/healthz":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, f"{method} {path} {status}"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_response_to_any_input_is_in_the_document(fuzzed: Page, document: dict[str, Any], operation: str) -> None:
    method, path = operation.split(" ")
    schema = schemathesis.openapi.from_dict(document)
    schema.location = f"{fuzzed.url}/openapi.json"
    under_test = schema[path][method]

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=under_test.as_strategy())
    def fuzz(case: schemathesis.Case) -> None:
        fuzzed.connect(ALPHA, BETA)
        # The wrong tokens of the examples before are forgotten: here they shall be answered with 401.
        fuzzed.clock.advance(hours=2)
        case.call_and_validate(
            base_url=fuzzed.url, headers={"Authorization": f"Bearer {TOKEN}"}, checks=CHECKS, allow_redirects=False
        )

    fuzz()


def test_the_document_is_small(document: dict[str, Any]) -> None:
    assert len(json.dumps(document)) < 200_000
    assert API in next(iter(document["paths"]))
