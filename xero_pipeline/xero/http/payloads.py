"""Whether the body of a success can be an answer of Xero's, and its JSON, which is parsed once.

`session.py` asks before it returns an answer, `answers.py` reads the JSON.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from requests import Response

# The length of the longest JSON token that a truncated answer can end in: `\u` with its four digits.
_LONGEST_CUT_TOKEN = 6


def find_body_problem(response: Response, container: type[dict[str, Any]] | type[list[Any]] | None) -> str | None:
    """Say why the body of a success cannot be an answer of Xero's; `None` if it can.

    A proxy that loses its connection to Xero may end a truncated answer properly, so that the HTTP layer cannot see
    it, and it may send a page of its own with the status 200.
    """
    if container is None:
        return None
    if not response.content:
        return "its answer was empty"
    strange: list[str] = []
    try:
        payload = json.loads(response.content, parse_float=Decimal, parse_constant=strange.append)
    except UnicodeDecodeError as error:
        return "its answer was cut short" if error.end == len(response.content) else "its answer was not JSON"
    except json.JSONDecodeError as error:
        is_cut = error.msg.startswith("Unterminated") or len(error.doc.rstrip()) - error.pos < _LONGEST_CUT_TOKEN
        return "its answer was cut short" if is_cut else "its answer was not JSON"
    except (ValueError, RecursionError):
        return "its answer was not JSON"
    if not isinstance(payload, container):
        return f"its answer was not {'an object' if container is dict else 'a list'}"
    if not strange:
        _keep_payload(response, payload)
    # An organisation without documents has a list that is empty; an empty object has not even that.
    return "its answer was an empty object" if payload == {} else None


def _keep_payload(response: Response, payload: Any) -> None:
    """Keep the parsed JSON with its answer, because parsing a page of documents takes as long as fetching it."""
    response.__dict__["_xero_payload"] = payload


def get_kept_payload(response: Response) -> Any:
    """Return the JSON that was kept with the answer; `None` without one. Numbers with a fraction are `Decimal`."""
    return response.__dict__.get("_xero_payload")
