"""How Xero says no: the bodies of its errors, each as Xero writes it.

Sources: recorded answers for 401 and 403; Xero's documentation for 400, 404 and 429.
"""

from __future__ import annotations

from xero_pipeline.mock_xero.books.seeded_random import steady_uuid
from xero_pipeline.mock_xero.messages import MockResponse


class ValidationProblem(Exception):
    """A parameter that Xero would not take; the text is told to the caller."""


def validation(message: str) -> MockResponse:
    element = {"ValidationErrors": [{"Message": message}]}
    body = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [element],
    }
    return MockResponse.of_json(body, 400)


def query(message: str) -> MockResponse:
    return MockResponse.of_json({"ErrorNumber": 16, "Type": "QueryParseException", "Message": message}, 400)


def unauthorised(detail: str, *, scope_missing: bool = False) -> MockResponse:
    """401. With `scope_missing`, no fresh token can help."""
    instance = steady_uuid("instance", detail)
    body = {"Title": "Unauthorized", "Status": 401, "Detail": detail, "Instance": instance}
    challenge = 'Bearer error="insufficient_scope"' if scope_missing else 'Bearer error="invalid_token"'
    return MockResponse.of_json(body, 401, **{"WWW-Authenticate": challenge})


def forbidden(detail: str = "AuthenticationUnsuccessful") -> MockResponse:
    instance = steady_uuid("instance", detail)
    return MockResponse.of_json({"title": "Forbidden", "status": 403, "detail": detail, "instance": instance}, 403)


def not_found() -> MockResponse:
    """404 is plain text, whatever was asked for."""
    return MockResponse.of_text("The resource you're looking for cannot be found", 404)


def not_allowed() -> MockResponse:
    return MockResponse.of_text("The requested method is not supported by this resource", 405)


def token_error(error: str, status: int = 400) -> MockResponse:
    return MockResponse.of_json({"error": error}, status)
