"""Reading the period of a report from its titles, in every known format."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xero_pipeline.weeks import Week
from xero_pipeline.xero.readers.periods import read_period

WEEK = Week(date(2026, 11, 21))
REQUESTED = (WEEK.start, WEEK.ending)


@pytest.mark.parametrize(
    "title",
    [
        "15 November 2026 to 21 November 2026",
        "From 15 November 2026 to 21 November 2026",
        "For the period 15 November 2026 to 21 November 2026",
        "15 Nov 2026 to 21 Nov 2026",
        "15 Nov. 2026 - 21 Nov. 2026",
        "15 Nov 26 to 21 Nov 26",
        "15th November 2026 through 21st November 2026",
        "Sunday 15 November 2026 to Saturday, 21 November 2026",
        "November 15, 2026 to November 21, 2026",
        "November 15, 2026 through November 21, 2026",
        "Nov 15 2026 – Nov 21 2026",
        "November 15 to November 21, 2026",
        "November 15 - 21, 2026",
        "November 15–21, 2026",
        "15 to 21 November 2026",
        "15-21 November 2026",
        "15–21 November 2026",
        "15 November to 21 November 2026",
        "15\u00a0November\u00a02026 to 21\u00a0November\u00a02026",
        "FROM 15 NOVEMBER 2026 TO 21 NOVEMBER 2026",
        "2026-11-15 to 2026-11-21",
        "2026-11-15 - 2026-11-21",
        "15/11/2026 to 21/11/2026",
        "11/15/2026 to 11/21/2026",
        "15.11.2026 – 21.11.2026",
        "15-11-2026 to 21-11-2026",
        "15-Nov-2026 to 21-Nov-2026",
        "15-Nov-26 - 21-Nov-26",
        "For the week ended 21 November 2026",
        "For the week ending November 21, 2026",
        "For the 7 days ended 21 November 2026",
        "For the 7 days ended 2026-11-21",
    ],
)
def test_every_format_of_the_week_is_read(title: str) -> None:
    assert read_period(["Profit & Loss", "Example Organisation (AU)", title], WEEK) == REQUESTED


@pytest.mark.parametrize(
    ("title", "first", "last"),
    [
        ("From 1 April 2019 to 30 April 2019", date(2019, 4, 1), date(2019, 4, 30)),
        ("1 November 2026 to 30 November 2026", date(2026, 11, 1), date(2026, 11, 30)),
        ("29 November to 5 December 2026", date(2026, 11, 29), date(2026, 12, 5)),
        ("27 December to 2 January 2027", date(2026, 12, 27), date(2027, 1, 2)),
        ("December 27, 2026 through January 2, 2027", date(2026, 12, 27), date(2027, 1, 2)),
        ("For the week ended 14 November 2026", date(2026, 11, 8), date(2026, 11, 14)),
        ("13/12/2026 to 19/12/2026", date(2026, 12, 13), date(2026, 12, 19)),
    ],
)
def test_another_period_is_read_as_such(title: str, first: date, last: date) -> None:
    assert read_period(["Profit & Loss", title], WEEK) == (first, last)


@pytest.mark.parametrize(
    "title",
    [
        "",
        "As at 21 November 2026",
        "21 November 2026",
        "For the month ended 21 November 2026",
        "For the 2 weeks ended 21 November 2026",
        "For the 12 week period ended 21 November 2026",
        "For the 52 week ended 21 November 2026",
        "15 November to 21 November",
        "31 February 2026 to 6 March 2026",
        "15 Novembre 2026 à 21 Novembre 2026",
        "Notes 1 to 5",
    ],
)
def test_a_title_without_a_week_or_range_gives_no_period(title: str) -> None:
    assert read_period(["Profit & Loss", title], WEEK) is None


def test_numeric_dates_are_the_requested_week_only_if_one_reading_of_them_is() -> None:
    first_of_february = Week(date(2026, 2, 7))
    assert read_period(["01/02/2026 to 07/02/2026"], first_of_february) == (date(2026, 2, 1), date(2026, 2, 7))
    assert read_period(["02/01/2026 to 02/07/2026"], first_of_february) == (date(2026, 2, 1), date(2026, 2, 7))
    assert read_period(["03/01/2026 to 03/07/2026"], first_of_february) != (date(2026, 2, 1), date(2026, 2, 7))


def test_an_organisation_name_with_dates_does_not_hide_the_period() -> None:
    assert (
        read_period(["Profit & Loss", "Fair 1 May 2020 to 3 May 2020 Ltd", "15 to 21 November 2026"], WEEK) == REQUESTED
    )
    assert read_period(["15 to 21 November 2026", "Fair 1 May 2020 to 3 May 2020 Ltd"], WEEK) == REQUESTED


FORMATS = (
    lambda a, b: f"{a.day} {a:%B %Y} to {b.day} {b:%B %Y}",
    lambda a, b: f"From {a.day} {a:%b %Y} to {b.day} {b:%b %Y}",
    lambda a, b: f"{a:%B} {a.day}, {a.year} through {b:%B} {b.day}, {b.year}",
    lambda a, b: f"{a.day} {a:%B} to {b.day} {b:%B %Y}",
    lambda a, b: f"{a.isoformat()} to {b.isoformat()}",
    lambda a, b: f"{a:%d/%m/%Y} to {b:%d/%m/%Y}",
    lambda a, b: f"{a:%m/%d/%Y} - {b:%m/%d/%Y}",
    lambda a, b: f"For the week ended {b.day} {b:%B %Y}",
)


@given(st.integers(0, 4000), st.sampled_from(FORMATS), st.integers(-60, 60))
@settings(deadline=None)
def test_a_week_is_never_read_as_another(number: int, write: object, offset: int) -> None:
    requested = Week(date(2000, 1, 1)).shift(number)
    stated = Week(requested.ending + timedelta(weeks=offset))
    period = read_period([write(stated.start, stated.ending)], requested)  # type: ignore[operator]
    if offset == 0:
        assert period == (requested.start, requested.ending)
    else:
        assert period != (requested.start, requested.ending)
