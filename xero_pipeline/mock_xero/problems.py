"""Xero's error responses, each with the body that Xero writes.

Sources: recorded answers for 401 and 403; Xero's documentation for 400, 404 and 429.
"""

from __future__ import annotations

from xero_pipeline.mock_xero.books.seeded_random import derive_uuid
from xero_pipeline.mock_xero.messages import MockResponse


class ValidationProblem(Exception):
    """A request parameter that Xero would reject; the text is the message to the caller."""


def respond_validation_error(message: str) -> MockResponse:
    element = {"ValidationErrors": [{"Message": message}]}
    body = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [element],
    }
    return MockResponse.from_json(body, 400)


def respond_query_error(message: str) -> MockResponse:
    return MockResponse.from_json({"ErrorNumber": 16, "Type": "QueryParseException", "Message": message}, 400)


def respond_unauthorised(detail: str, *, scope_missing: bool = False) -> MockResponse:
    """401. `scope_missing`: the token lacks a scope, which a refresh cannot add."""
    instance = derive_uuid("instance", detail)
    body = {"Title": "Unauthorized", "Status": 401, "Detail": detail, "Instance": instance}
    challenge = 'Bearer error="insufficient_scope"' if scope_missing else 'Bearer error="invalid_token"'
    return MockResponse.from_json(body, 401, **{"WWW-Authenticate": challenge})


def respond_forbidden(detail: str = "AuthenticationUnsuccessful") -> MockResponse:
    instance = derive_uuid("instance", detail)
    return MockResponse.from_json({"title": "Forbidden", "status": 403, "detail": detail, "instance": instance}, 403)


def respond_not_found() -> MockResponse:
    """404, as plain text even if the client accepts only JSON."""
    return MockResponse.from_text("The resource you're looking for cannot be found", 404)


def respond_method_not_allowed() -> MockResponse:
    return MockResponse.from_text("The requested method is not supported by this resource", 405)


def respond_token_error(error: str, status: int = 400) -> MockResponse:
    return MockResponse.from_json({"error": error}, status)
