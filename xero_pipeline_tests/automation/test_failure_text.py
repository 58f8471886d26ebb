"""What a failure is called: every one of ours has its words, and weeks are named as people name them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from xero_pipeline.automation.failure_text import code_of, failure_text, format_list, format_weeks
from xero_pipeline.warehouse.errors import WarehouseError
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import ConsentFailed, PermissionMissing, XeroError

WEEK = Week(date(2026, 11, 21))


def family(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from family(child)


def ends_a_sync(kind: type) -> bool:
    """A refused sign-in is told where it happens; what is defined elsewhere never leaves its module."""
    return not issubclass(kind, ConsentFailed) and kind.__module__.endswith(".errors")


@pytest.mark.parametrize("kind", [kind for kind in (*family(XeroError), *family(WarehouseError)) if ends_a_sync(kind)])
def test_every_error_that_a_sync_can_end_with_has_words_of_its_own(kind: type[XeroError]) -> None:
    words = failure_text(kind.code)
    assert "something went wrong" not in words.what
    assert words.to_do.endswith(".")


def test_an_error_that_nobody_has_foreseen_is_at_least_named() -> None:
    assert failure_text("KeyError").what == "something went wrong (KeyError)"


def test_of_a_chain_of_errors_ours_is_the_one_that_counts() -> None:
    assert code_of(["DagsterResourceFunctionError", "NotMigrated", "OperationalError"]) == "not_migrated"
    assert code_of(["SensorExecutionError", "KeyError"]) == "KeyError"
    assert code_of([PermissionMissing.__name__]) == "permission_missing"
    assert code_of([]) == "interrupted"


def test_weeks_are_named_by_their_saturdays_and_in_stretches() -> None:
    assert format_weeks([WEEK]) == "week ending 2026-11-21"
    assert format_weeks([WEEK, WEEK.previous, WEEK]) == "weeks ending 2026-11-14 to 2026-11-21"
    assert format_weeks([WEEK, WEEK.shift(-2)]) == "weeks ending 2026-11-21 and 2026-11-07"
    assert format_weeks([]) == "no week"


def test_of_many_stretches_the_older_ones_are_only_counted() -> None:
    weeks = [WEEK.shift(-2 * number) for number in range(9)]
    assert format_weeks(weeks).endswith("2026-09-12 and 3 older stretches")


def test_a_list_reads_like_a_sentence() -> None:
    assert format_list(["a"]) == "a"
    assert format_list(["a", "b"]) == "a and b"
    assert format_list(["a", "b", "c"]) == "a, b and c"
