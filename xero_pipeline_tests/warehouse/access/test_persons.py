"""The table of persons: tokens are stored as hashes, names are unlike each other, and a removal is final."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from xero_pipeline.warehouse.access.persons import PersonNotAdded, UnknownPerson
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.store import Warehouse


def test_a_person_is_found_by_the_token_that_was_returned_once(warehouse: Warehouse) -> None:
    token = warehouse.persons.add("Ann Lee", AccessRole.OPERATOR, now=warehouse.clock.now()) or ""
    found = warehouse.persons.find_by_token(token)
    assert found is not None
    assert (found.name, found.role) == ("Ann Lee", AccessRole.OPERATOR)
    for wrong in ("", token[:-1], token + "a", token.upper(), "xeropipe_" + "a" * 43, "\x00"):
        assert warehouse.persons.find_by_token(wrong) is None
    with warehouse.engine.connect() as connection:
        assert token not in repr(connection.execute(text("SELECT * FROM access_tokens")).all())
    assert len(token) == len("xeropipe_") + 43


def test_each_token_is_another(warehouse: Warehouse) -> None:
    tokens = {warehouse.persons.add(f"p{n}", AccessRole.VIEWER, now=warehouse.clock.now()) for n in range(5)}
    assert len(tokens) == 5


@pytest.mark.parametrize(
    "name",
    ["", " ", " ann", "ann ", "a\nb", "a\x1b[2J", "-rf", "a/b", "<b>", "x" * 65, "admin", "Local", "UNKNOWN", "Ann"],
)
def test_a_name_that_could_mislead_is_refused(warehouse: Warehouse, name: str) -> None:
    warehouse.persons.add("ann", AccessRole.VIEWER, now=warehouse.clock.now())
    with pytest.raises(PersonNotAdded):
        warehouse.persons.add(name, AccessRole.OWNER, now=warehouse.clock.now())
    assert [person.name for person in warehouse.persons.list_all()] == ["ann"]


@pytest.mark.parametrize("name", ["a", "ann@example.com", "O'Brien", "Zoë Müller", "x" * 64, "svc_1"])
def test_the_names_of_people_are_accepted(warehouse: Warehouse, name: str) -> None:
    assert warehouse.persons.add(name, AccessRole.VIEWER, now=warehouse.clock.now())


def test_a_removed_person_has_no_token_and_no_credential_any_more(warehouse: Warehouse) -> None:
    now = warehouse.clock.now()
    token = warehouse.persons.add("ann", AccessRole.OWNER, now=now) or ""
    warehouse.persons.add("proxied", AccessRole.OWNER, now=now, with_token=False)
    credentials = [person.credential for person in warehouse.persons.list_all()]
    for credential, name in zip(credentials, ("ann", "proxied"), strict=True):
        found = warehouse.persons.find_by_credential(credential)
        assert found is not None
        assert found.name == name
        assert warehouse.persons.remove(name).name == name
        assert warehouse.persons.find_by_credential(credential) is None
    assert warehouse.persons.find_by_token(token) is None
    with pytest.raises(UnknownPerson):
        warehouse.persons.remove("ann")


def test_a_higher_role_includes_the_lower_ones() -> None:
    assert [[one.includes(other) for other in AccessRole] for one in AccessRole] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
