"""The texts for failures: every error of ours has one, and weeks are named as people name them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from xero_pipeline.automation.failure_text import find_error_code, format_list, format_weeks, get_failure_text
from xero_pipeline.warehouse.errors import WarehouseError
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import ConsentFailed, PermissionMissing, XeroError

WEEK = Week(date(2026, 11, 21))


def list_subclasses(error_class: type) -> Iterator[type]:
    for child in error_class.__subclasses__():
        yield child
        yield from list_subclasses(child)


def can_end_a_sync(error_class: type) -> bool:
    """Whether a sync can end with it.

    A refused consent is reported where it happens, and an error defined elsewhere never leaves its module.
    """
    return not issubclass(error_class, ConsentFailed) and error_class.__module__.endswith(".errors")


@pytest.mark.parametrize(
    "error_class",
    [
        error_class
        for error_class in (*list_subclasses(XeroError), *list_subclasses(WarehouseError))
        if can_end_a_sync(error_class)
    ],
)
def test_every_error_that_can_end_a_sync_has_its_own_text(error_class: type[XeroError]) -> None:
    failure = get_failure_text(error_class.code)
    assert "something went wrong" not in failure.summary
    assert failure.advice.endswith(".")


def test_an_unknown_error_is_named_by_its_code() -> None:
    assert get_failure_text("KeyError").summary == "something went wrong (KeyError)"


def test_the_code_of_an_error_chain_is_that_of_our_error_in_it() -> None:
    assert find_error_code(["DagsterResourceFunctionError", "NotMigrated", "OperationalError"]) == "not_migrated"
    assert find_error_code(["SensorExecutionError", "KeyError"]) == "KeyError"
    assert find_error_code([PermissionMissing.__name__]) == "permission_missing"
    assert find_error_code([]) == "interrupted"


def test_weeks_are_named_by_their_saturdays_and_grouped_into_ranges() -> None:
    assert format_weeks([WEEK]) == "week ending 2026-11-21"
    assert format_weeks([WEEK, WEEK.previous, WEEK]) == "weeks ending 2026-11-14 to 2026-11-21"
    assert format_weeks([WEEK, WEEK.shift(-2)]) == "weeks ending 2026-11-21 and 2026-11-07"
    assert format_weeks([]) == "no week"


def test_the_older_ones_of_many_ranges_are_only_counted() -> None:
    weeks = [WEEK.shift(-2 * number) for number in range(9)]
    assert format_weeks(weeks).endswith("2026-09-12 and 3 older ranges")


def test_a_list_reads_like_a_sentence() -> None:
    assert format_list(["a"]) == "a"
    assert format_list(["a", "b"]) == "a and b"
    assert format_list(["a", "b", "c"]) == "a, b and c"
