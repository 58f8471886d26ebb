"""Settings about weeks and about when they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import date
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import field_validator

from xero_pipeline.cron import require_cron
from xero_pipeline.settings.base import SettingsGroup, setting
from xero_pipeline.weeks import EARLIEST_DATE, LATEST_DATE, Calendar


class ScheduleSettings(SettingsGroup):
    """The calendar, the daily sync, and how often the sensors look."""

    timezone_name: str = setting("PIPELINE_TIMEZONE", "Australia/Sydney")
    start_date: date = setting("PIPELINE_START_DATE", date(2023, 1, 1))
    sync_cron: str = setting("SYNC_CRON", "0 6 * * *")
    digest_cron: str = setting("DIGEST_CRON", "0 7 * * 1")
    lookback_weeks: int = setting("SYNC_LOOKBACK_WEEKS", 4, ge=0, le=520)
    organisations_per_run: int = setting("ORGANISATIONS_PER_RUN", 20, ge=1, le=50)
    missing_weeks_seconds: int = setting("MISSING_WEEKS_SECONDS", 300, ge=5)
    late_edits_seconds: int = setting("LATE_EDITS_SECONDS", 900, ge=5)
    reconciliation_seconds: int = setting("RECONCILIATION_SECONDS", 86400, ge=5)

    MEND: ClassVar[Mapping[str, str]] = {
        "SYNC_LOOKBACK_WEEKS": "must be a whole number from 0 to 520",
        # Dagster indexes the tag with a run's tenant ids, and PostgreSQL indexes no text above 2.7 kB. 50 ids are 1.8.
        "ORGANISATIONS_PER_RUN": "must be a whole number from 1 to 50",
        "MISSING_WEEKS_SECONDS": "must be a whole number of seconds, 5 or more",
        "LATE_EDITS_SECONDS": "must be a whole number of seconds, 5 or more",
        "RECONCILIATION_SECONDS": "must be a whole number of seconds, 5 or more",
    }

    @field_validator("timezone_name")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("must be an IANA time zone, such as Australia/Sydney") from None
        return value

    @field_validator("start_date", mode="before")
    @classmethod
    def _is_day(cls, value: object) -> date:
        # Pydantic alone also accepts a number, as seconds since 1970, and any year.
        text = str(value)
        with contextlib.suppress(ValueError):
            day = date.fromisoformat(text)
            # ISO 8601 has other forms of a date, such as 20230101; they are refused.
            if day.isoformat() == text and EARLIEST_DATE <= day <= LATEST_DATE:
                return day
        raise ValueError(f"must be a date as YYYY-MM-DD, from {EARLIEST_DATE} to {LATEST_DATE}")

    @field_validator("sync_cron", "digest_cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        require_cron(value)
        return value

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.start_date, ZoneInfo(self.timezone_name))
