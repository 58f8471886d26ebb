"""Connections: tokens are encrypted, a grant's organisations change together, and a consent replaces all tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from xero_pipeline.grants import Connection, ConnectionStatus, Tokens
from xero_pipeline.warehouse.connections.cipher import Cipher, associated_data
from xero_pipeline.warehouse.connections.tokens import TokenStore
from xero_pipeline.warehouse.errors import LockTimeout, NotDecryptable, UnknownOrganisation
from xero_pipeline.warehouse.schema import xero_tokens
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.warehouse.figures.figures_given import (
    KEY,
    NOW,
    OLD_KEY,
    WEEK,
    land_revenue,
    opened,
    revenue,
    tokens,
)

SECRETS = ("access_token", "refresh_token", "id_token")


@pytest.fixture
def store(warehouse: Warehouse) -> Iterator[TokenStore]:
    return warehouse.tokens


def read_secrets(warehouse: Warehouse) -> dict[str, dict[str, str]]:
    """The encrypted columns of the table, by tenant."""
    with warehouse.engine.connect() as connection:
        return {row["tenant_id"]: dict(row) for row in connection.execute(select(xero_tokens)).mappings()}


def test_a_consent_stores_every_organisation_with_its_own_encrypted_copies(
    warehouse: Warehouse, store: TokenStore
) -> None:
    organisations = store.save_consent(tokens(), opened("b", "a"), now=NOW)
    assert [organisation.tenant_id for organisation in organisations] == ["a", "b"]
    assert organisations == store.list_organisations()
    assert len({organisation.grant_id for organisation in organisations}) == 1
    assert store.load_tokens("a") == store.load_tokens("b") == tokens()
    rows = read_secrets(warehouse)
    assert rows["a"]["refresh_token"] != rows["b"]["refresh_token"]
    assert "first" not in str(rows)
    assert Cipher([KEY]).decrypt(rows["b"]["access_token"], "b:access_token") == "access-first"


def test_two_organisations_of_one_name_are_told_apart_by_their_ids(store: TokenStore) -> None:
    names = {"a": "Demo Company (AU)", "b": "Demo company (AU) ", "c": "Another"}
    connections = [Connection(f"connection-{tenant}", tenant, name) for tenant, name in names.items()]
    store.save_consent(tokens(), connections, now=NOW)
    shown = {organisation.tenant_id: organisation.display_name for organisation in store.list_organisations()}
    assert shown == {"a": "Demo Company (AU) (a)", "b": "Demo company (AU)  (b)", "c": "Another"}
    assert store.get_organisation("a").display_name == shown["a"]
    store.forget("b")
    assert store.get_organisation("a").display_name == "Demo Company (AU)"


def test_an_organisation_states_its_connections_status(store: TokenStore) -> None:
    store.save_consent(tokens(), opened("a"), now=NOW)
    organisation = store.get_organisation("a")
    assert (organisation.tenant_name, organisation.connection_id, organisation.status) == (
        "Organisation a",
        "connection-a",
        "connected",
    )
    assert (organisation.connected_at, organisation.refreshed_at, organisation.last_sync_at) == (NOW, NOW, None)
    assert organisation.refresh_token_expires_at == NOW + timedelta(days=60)
    assert store.get_organisation("a").grant_id == organisation.grant_id


def test_a_custom_connection_has_no_refresh_token_and_none_that_expires(store: TokenStore) -> None:
    store.save_consent(tokens(refresh=False), opened("a"), now=NOW)
    assert store.load_tokens("a").refresh_token == ""
    assert store.get_organisation("a").refresh_token_expires_at is None


def test_a_refresh_is_stored_for_every_organisation_of_the_grant_and_no_other(
    store: TokenStore, clock: FakeClock
) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    store.save_consent(tokens("other"), opened("c"), now=NOW)
    store.set_status("b", ConnectionStatus.RECONNECT_NEEDED)
    clock.advance(hours=1)
    store.save_refreshed(grant, tokens("second", at=clock.now()))
    assert [store.load_tokens(tenant).access_token for tenant in "abc"] == [
        "access-second",
        "access-second",
        "access-other",
    ]
    assert store.get_organisation("a").refreshed_at == clock.now()
    # It was disconnected at Xero, and stays so until somebody connects it again.
    assert store.get_organisation("b").status is ConnectionStatus.RECONNECT_NEEDED


class FailingCipher(Cipher):
    """Fails for one organisation, as a full disk could make it fail."""

    def encrypt(self, text: str, aad: str) -> str:
        if aad.startswith("b:"):
            raise OSError("no space left")
        return super().encrypt(text, aad)


def test_a_refresh_that_cannot_be_stored_for_all_is_stored_for_none(
    warehouse: Warehouse, store: TokenStore, clock: FakeClock
) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    failing = TokenStore(warehouse.engine, FailingCipher([KEY]), clock, warehouse.locks)
    with pytest.raises(OSError, match="no space"):
        failing.save_refreshed(grant, tokens("second"))
    assert store.load_tokens("a") == store.load_tokens("b") == tokens()
    with pytest.raises(OSError, match="no space"):
        failing.save_consent(tokens("third"), opened("a", "b"), now=NOW)
    assert store.load_tokens("a") == tokens()


def test_a_refresh_of_a_replaced_grant_overwrites_no_newer_token(store: TokenStore) -> None:
    old = store.save_consent(tokens(), opened("a"), now=NOW)[0].grant_id
    store.save_consent(tokens("newer"), opened("a"), now=NOW)
    assert not store.save_refreshed(old, tokens("late"))
    assert store.load_tokens("a").access_token == "access-newer"


def test_a_new_consent_replaces_the_tokens_and_keeps_the_history(store: TokenStore, clock: FakeClock) -> None:
    first = store.save_consent(tokens(), opened("a"), now=NOW)[0]
    store.touch_synced("a", NOW)
    store.set_status("a", ConnectionStatus.RECONNECT_NEEDED)
    clock.advance(days=1)
    second = store.save_consent(tokens("second", at=clock.now()), opened("a", "b"), now=clock.now())
    assert [organisation.tenant_id for organisation in second] == ["a", "b"]
    assert second[0].grant_id == second[1].grant_id != first.grant_id
    assert (second[0].status, second[0].last_sync_at) == (ConnectionStatus.CONNECTED, NOW)
    assert store.load_tokens("a").refresh_token == "refresh-second"


def test_an_organisation_that_another_user_connected_keeps_that_users_tokens(store: TokenStore) -> None:
    store.save_consent(tokens("alice"), opened("a", "b"), now=NOW)
    assert [organisation.tenant_id for organisation in store.save_consent(tokens("bob"), opened("b"), now=NOW)] == ["b"]
    assert store.load_tokens("a").refresh_token == "refresh-alice"
    assert store.load_tokens("b").refresh_token == "refresh-bob"
    store.save_refreshed(store.get_organisation("a").grant_id, tokens("alice-2"))
    assert store.load_tokens("b").refresh_token == "refresh-bob"


def test_of_two_simultaneous_consents_one_is_stored_whole(store: TokenStore) -> None:
    names = [f"consent-{number}" for number in range(4)]
    barrier = threading.Barrier(len(names))
    failed: list[BaseException] = []

    def consent(name: str, order: list[str]) -> None:
        barrier.wait()
        try:
            store.save_consent(tokens(name), opened(*order), now=NOW)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [
        threading.Thread(target=consent, args=(name, ["a", "b"] if number % 2 else ["b", "a"]))
        for number, name in enumerate(names)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert store.get_organisation("a").grant_id == store.get_organisation("b").grant_id
    assert store.load_tokens("a") == store.load_tokens("b")


def test_a_forgotten_organisation_is_unknown_and_gets_its_last_sync_back_when_connected_again(
    warehouse: Warehouse, store: TokenStore, clock: FakeClock
) -> None:
    store.save_consent(tokens(), opened("a", "b"), now=NOW)
    land_revenue(warehouse, revenue(), tenant_id="a")
    synced_at = clock.now()
    store.forget("a")
    store.forget("a")
    assert [organisation.tenant_id for organisation in store.list_organisations()] == ["b"]
    for ask in (store.get_organisation, store.load_tokens):
        with pytest.raises(UnknownOrganisation, match="id a "):
            ask("a")
    clock.advance(days=3)
    assert store.save_consent(tokens(), opened("a"), now=clock.now())[0].last_sync_at == synced_at


def test_a_grant_can_be_forgotten_as_a_whole(store: TokenStore) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    store.save_consent(tokens(), opened("c"), now=NOW)
    store.forget_grant(grant)
    assert [organisation.tenant_id for organisation in store.list_organisations()] == ["c"]


def test_a_status_is_set_for_a_grant_or_for_one_organisation(store: TokenStore) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    store.save_consent(tokens(), opened("c"), now=NOW)
    store.set_status(grant, ConnectionStatus.RECONNECT_NEEDED)
    assert [organisation.status for organisation in store.list_organisations()] == [
        "reconnect_needed",
        "reconnect_needed",
        "connected",
    ]
    store.set_status("b", ConnectionStatus.CONNECTED)
    assert [organisation.status for organisation in store.list_organisations()] == [
        "reconnect_needed",
        "connected",
        "connected",
    ]


def test_the_time_of_the_last_sync_is_that_of_the_last_landing_whose_clock_may_be_behind(store: TokenStore) -> None:
    store.save_consent(tokens(), opened("a"), now=NOW)
    store.touch_synced("a", NOW + timedelta(days=365))
    store.touch_synced("a", NOW)
    assert store.get_organisation("a").last_sync_at == NOW


@pytest.mark.parametrize("column", ["access_token", "refresh_token"])
@pytest.mark.parametrize("how", ["from another row", "from another column", "cut short", "under an unknown key"])
def test_a_misplaced_ciphertext_is_refused_with_the_organisations_name(
    sqlite_warehouse: Warehouse, how: str, column: str
) -> None:
    store = sqlite_warehouse.tokens
    store.save_consent(tokens(), opened("a", "b"), now=NOW)
    rows = read_secrets(sqlite_warehouse)
    other = "refresh_token" if column == "access_token" else "access_token"
    put = {
        "from another row": rows["b"][column],
        "from another column": rows["a"][other],
        "cut short": rows["a"][column][:-2],
        "under an unknown key": Cipher([OLD_KEY]).encrypt("x", associated_data("a", column)),
    }[how]
    with sqlite_warehouse.engine.begin() as connection:
        connection.execute(update(xero_tokens).where(xero_tokens.c.tenant_id == "a").values({column: put}))
    with pytest.raises(NotDecryptable, match="Organisation a") as caught:
        store.load_tokens("a")
    assert put not in str(caught.value)
    assert store.load_tokens("b") == tokens()
    assert [organisation.tenant_id for organisation in store.list_organisations()] == ["a", "b"], (
        "the list needs no key"
    )


def with_id_token() -> Tokens:
    plain = tokens()
    return Tokens("access", "refresh", "id", plain.token_type, plain.scope, plain.expires_at, plain.refreshed_at)


def test_rotation_encrypts_every_token_with_the_current_key(warehouse: Warehouse, clock: FakeClock) -> None:
    old = TokenStore(warehouse.engine, Cipher([OLD_KEY]), clock, warehouse.locks)
    old.save_consent(with_id_token(), opened("a", "b"), now=NOW)
    both = TokenStore(warehouse.engine, Cipher([KEY, OLD_KEY]), clock, warehouse.locks)
    both.save_consent(tokens(refresh=False), opened("c"), now=NOW)
    assert both.rotate() == 2
    assert both.rotate() == 0
    only_new = TokenStore(warehouse.engine, Cipher([KEY]), clock, warehouse.locks)
    assert only_new.load_tokens("a") == only_new.load_tokens("b") == with_id_token()
    assert only_new.load_tokens("c") == tokens(refresh=False)


def test_rotation_changes_nothing_if_no_key_decrypts_one_of_the_values(warehouse: Warehouse, clock: FakeClock) -> None:
    old = TokenStore(warehouse.engine, Cipher([OLD_KEY]), clock, warehouse.locks)
    old.save_consent(tokens(), opened("a", "b"), now=NOW)
    with warehouse.engine.begin() as connection:
        spoilt = {"refresh_token": Cipher([b"z" * 32]).encrypt("x", associated_data("b", "refresh_token"))}
        connection.execute(update(xero_tokens).where(xero_tokens.c.tenant_id == "b").values(spoilt))
    before = read_secrets(warehouse)
    with pytest.raises(NotDecryptable, match="Organisation b"):
        TokenStore(warehouse.engine, Cipher([KEY, OLD_KEY]), clock, warehouse.locks).rotate()
    assert read_secrets(warehouse) == before


def test_only_one_holder_refreshes_a_grant_and_other_grants_do_not_wait(store: TokenStore) -> None:
    with (
        store.hold_refresh_lock("grant-1"),
        store.hold_refresh_lock("grant-2", timeout=0.05),
        pytest.raises(LockTimeout),
        store.hold_refresh_lock("grant-1", timeout=0.05),
    ):
        pass


def test_many_threads_with_an_expired_token_refresh_it_once(store: TokenStore) -> None:
    store.save_consent(tokens("0"), opened("a", "b"), now=NOW)
    refresh_tokens_sent: list[str] = []

    def use(tenant: str) -> None:
        with store.hold_refresh_lock(store.get_organisation(tenant).grant_id):
            current = store.load_tokens(tenant)
            if current.access_token == "access-0":
                refresh_tokens_sent.append(current.refresh_token)
                store.save_refreshed(store.get_organisation(tenant).grant_id, tokens("1"))

    threads = [threading.Thread(target=use, args=("ab"[number % 2],)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refresh_tokens_sent == ["refresh-0"]
    assert store.load_tokens("b") == tokens("1")


def test_touching_an_organisation_that_was_forgotten_does_nothing(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue(), tenant_id="gone", week=WEEK)
    assert warehouse.tokens.list_organisations() == []


def test_a_status_is_set_only_while_the_organisation_belongs_to_the_named_grant(store: TokenStore) -> None:
    [old] = store.save_consent(tokens(), opened("a"), now=NOW)
    [new] = store.save_consent(tokens(), opened("a"), now=NOW)
    store.set_status("a", ConnectionStatus.RECONNECT_NEEDED, grant_id=old.grant_id)
    assert store.get_organisation("a").status is ConnectionStatus.CONNECTED
    store.set_status("a", ConnectionStatus.RECONNECT_NEEDED, grant_id=new.grant_id)
    assert store.get_organisation("a").status is ConnectionStatus.RECONNECT_NEEDED
