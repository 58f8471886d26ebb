"""The week or month that a path names. A date that names none is 404."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Path

from xero_pipeline.admin.api_models import IsoDate
from xero_pipeline.admin.context import AdminContextDep
from xero_pipeline.admin.error_responses import BadRequest
from xero_pipeline.periods import Month, NoSuchMonth
from xero_pipeline.weeks import NoSuchWeek, Week


@contextmanager
def _answer_not_found() -> Iterator[None]:
    try:
        yield
    except (NoSuchWeek, NoSuchMonth) as error:
        raise BadRequest(str(error), code=error.code, status=404) from None


# `async`, although they wait for nothing: otherwise each would need one of the threads, which may all be taken.
async def _get_week(context: AdminContextDep, ending: Annotated[IsoDate, Path(alias="weekEnding")]) -> Week:
    with _answer_not_found():
        return context.require_week(ending)


async def _get_month(context: AdminContextDep, ending: Annotated[IsoDate, Path(alias="monthEnding")]) -> Month:
    with _answer_not_found():
        return context.require_month(ending)


RequestedWeek = Annotated[Week, Depends(_get_week)]
RequestedMonth = Annotated[Month, Depends(_get_month)]
