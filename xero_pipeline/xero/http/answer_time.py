"""When Xero worked on an answer, by Xero's own clock.

What was edited at Xero is asked for by Xero's time. This machine's clock may be minutes off, and an edit would be
missed for good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from requests import Response

# As in `"DateTimeUTC": "/Date(1439434356790)/"`; the milliseconds are UTC, whatever the offset.
_JSON_DATE = re.compile(r"/Date\((-?\d{1,15})(?:[+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_answer_time(payload: Mapping[str, Any], response: Response) -> datetime | None:
    """Return a moment by Xero's clock before which every edit is in this answer.

    It is the moment that the answer states (`DateTimeUTC` of the body, else the header `Date`), less the time that
    the answer took.

    Returns:
        `None` if the answer states no moment.
    """
    stated = _read_moment(payload.get("DateTimeUTC")) or _read_header(response.headers.get("Date"))
    return None if stated is None else stated - max(response.elapsed, timedelta(0))


def _read_moment(value: object) -> datetime | None:
    text = str(value or "").strip()
    try:
        if match := _JSON_DATE.fullmatch(text):
            return _EPOCH + timedelta(milliseconds=int(match[1]))
        return _in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _read_header(value: str | None) -> datetime | None:
    try:
        return _in_utc(parsedate_to_datetime(value or ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
