"""Connections: tokens lie encrypted, a grant's organisations change together, a consent replaces whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from xero_pipeline.grants import ConnectionStatus, Tokens
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


def stored(warehouse: Warehouse) -> dict[str, dict[str, str]]:
    """What the table holds, by tenant."""
    with warehouse.engine.connect() as connection:
        return {row["tenant_id"]: dict(row) for row in connection.execute(select(xero_tokens)).mappings()}


def test_a_consent_keeps_every_organisation_with_its_own_encrypted_copies(
    warehouse: Warehouse, store: TokenStore
) -> None:
    kept = store.save_consent(tokens(), opened("b", "a"), now=NOW)
    assert [one.tenant_id for one in kept] == ["a", "b"]
    assert kept == store.organisations()
    assert len({one.grant_id for one in kept}) == 1
    assert store.tokens("a") == store.tokens("b") == tokens()
    rows = stored(warehouse)
    assert rows["a"]["refresh_token"] != rows["b"]["refresh_token"]
    assert "first" not in str(rows)
    assert Cipher([KEY]).decrypt(rows["b"]["access_token"], "b:access_token") == "access-first"


def test_an_organisation_says_how_its_connection_stands(store: TokenStore) -> None:
    store.save_consent(tokens(), opened("a"), now=NOW)
    one = store.organisation("a")
    assert (one.tenant_name, one.connection_id, one.status) == ("Organisation a", "connection-a", "connected")
    assert (one.connected_at, one.refreshed_at, one.last_sync_at) == (NOW, NOW, None)
    assert one.refresh_token_expires_at == NOW + timedelta(days=60)
    assert store.organisation("a").grant_id == one.grant_id


def test_a_custom_connection_has_no_refresh_token_and_none_that_dies(store: TokenStore) -> None:
    store.save_consent(tokens(refresh=False), opened("a"), now=NOW)
    assert store.tokens("a").refresh_token == ""
    assert store.organisation("a").refresh_token_expires_at is None


def test_a_refresh_is_written_for_every_organisation_of_the_grant_and_no_other(
    store: TokenStore, clock: FakeClock
) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    store.save_consent(tokens("other"), opened("c"), now=NOW)
    store.set_status("b", ConnectionStatus.RECONNECT_NEEDED)
    clock.advance(hours=1)
    store.save_refreshed(grant, tokens("second", at=clock.now()))
    assert [store.tokens(tenant).access_token for tenant in "abc"] == [
        "access-second",
        "access-second",
        "access-other",
    ]
    assert store.organisation("a").refreshed_at == clock.now()
    # Disconnected at Xero, it stays so until somebody connects it again.
    assert store.organisation("b").status is ConnectionStatus.RECONNECT_NEEDED


class FailingCipher(Cipher):
    """Fails for one organisation, as a full disk might."""

    def encrypt(self, text: str, aad: str) -> str:
        if aad.startswith("b:"):
            raise OSError("no space left")
        return super().encrypt(text, aad)


def test_a_refresh_that_cannot_be_written_for_all_is_written_for_none(
    warehouse: Warehouse, store: TokenStore, clock: FakeClock
) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    failing = TokenStore(warehouse.engine, FailingCipher([KEY]), clock, warehouse.locks)
    with pytest.raises(OSError, match="no space"):
        failing.save_refreshed(grant, tokens("second"))
    assert store.tokens("a") == store.tokens("b") == tokens()
    with pytest.raises(OSError, match="no space"):
        failing.save_consent(tokens("third"), opened("a", "b"), now=NOW)
    assert store.tokens("a") == tokens()


def test_a_refresh_for_a_grant_that_is_gone_overwrites_no_newer_token(store: TokenStore) -> None:
    old = store.save_consent(tokens(), opened("a"), now=NOW)[0].grant_id
    store.save_consent(tokens("newer"), opened("a"), now=NOW)
    assert not store.save_refreshed(old, tokens("late"))
    assert store.tokens("a").access_token == "access-newer"


def test_a_new_consent_replaces_the_tokens_and_keeps_the_history(store: TokenStore, clock: FakeClock) -> None:
    first = store.save_consent(tokens(), opened("a"), now=NOW)[0]
    store.touch_synced("a", NOW)
    store.set_status("a", ConnectionStatus.RECONNECT_NEEDED)
    clock.advance(days=1)
    second = store.save_consent(tokens("second", at=clock.now()), opened("a", "b"), now=clock.now())
    assert [one.tenant_id for one in second] == ["a", "b"]
    assert second[0].grant_id == second[1].grant_id != first.grant_id
    assert (second[0].status, second[0].last_sync_at) == (ConnectionStatus.CONNECTED, NOW)
    assert store.tokens("a").refresh_token == "refresh-second"


def test_an_organisation_that_another_user_connected_keeps_that_users_tokens(store: TokenStore) -> None:
    store.save_consent(tokens("alice"), opened("a", "b"), now=NOW)
    assert [one.tenant_id for one in store.save_consent(tokens("bob"), opened("b"), now=NOW)] == ["b"]
    assert store.tokens("a").refresh_token == "refresh-alice"
    assert store.tokens("b").refresh_token == "refresh-bob"
    store.save_refreshed(store.organisation("a").grant_id, tokens("alice-2"))
    assert store.tokens("b").refresh_token == "refresh-bob"


def test_two_consents_at_once_leave_one_of_them_whole(store: TokenStore) -> None:
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
    assert store.organisation("a").grant_id == store.organisation("b").grant_id
    assert store.tokens("a") == store.tokens("b")


def test_what_is_forgotten_is_unknown_and_connected_again_it_knows_when_it_was_synced(
    warehouse: Warehouse, store: TokenStore, clock: FakeClock
) -> None:
    store.save_consent(tokens(), opened("a", "b"), now=NOW)
    land_revenue(warehouse, revenue(), tenant_id="a")
    synced_at = clock.now()
    store.forget("a")
    store.forget("a")
    assert [one.tenant_id for one in store.organisations()] == ["b"]
    for ask in (store.organisation, store.tokens):
        with pytest.raises(UnknownOrganisation, match="id a "):
            ask("a")
    clock.advance(days=3)
    assert store.save_consent(tokens(), opened("a"), now=clock.now())[0].last_sync_at == synced_at


def test_a_grant_can_be_forgotten_as_a_whole(store: TokenStore) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    store.save_consent(tokens(), opened("c"), now=NOW)
    store.forget_grant(grant)
    assert [one.tenant_id for one in store.organisations()] == ["c"]


def test_a_status_is_marked_for_a_grant_or_for_one_organisation(store: TokenStore) -> None:
    grant = store.save_consent(tokens(), opened("a", "b"), now=NOW)[0].grant_id
    store.save_consent(tokens(), opened("c"), now=NOW)
    store.set_status(grant, ConnectionStatus.RECONNECT_NEEDED)
    assert [one.status for one in store.organisations()] == [
        "reconnect_needed",
        "reconnect_needed",
        "connected",
    ]
    store.set_status("b", ConnectionStatus.CONNECTED)
    assert [one.status for one in store.organisations()] == ["reconnect_needed", "connected", "connected"]


def test_a_sync_never_moves_the_last_one_back(store: TokenStore) -> None:
    store.save_consent(tokens(), opened("a"), now=NOW)
    store.touch_synced("a", NOW)
    store.touch_synced("a", NOW - timedelta(hours=1))
    assert store.organisation("a").last_sync_at == NOW


@pytest.mark.parametrize("column", ["access_token", "refresh_token"])
@pytest.mark.parametrize("how", ["from another row", "from another column", "cut short", "under an unknown key"])
def test_a_ciphertext_that_does_not_belong_there_is_refused_with_the_organisations_name(
    sqlite_warehouse: Warehouse, how: str, column: str
) -> None:
    store = sqlite_warehouse.tokens
    store.save_consent(tokens(), opened("a", "b"), now=NOW)
    rows = stored(sqlite_warehouse)
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
        store.tokens("a")
    assert put not in str(caught.value)
    assert store.tokens("b") == tokens()
    assert [one.tenant_id for one in store.organisations()] == ["a", "b"], "the list needs no key"


def with_id_token() -> Tokens:
    plain = tokens()
    return Tokens("access", "refresh", "id", plain.token_type, plain.scope, plain.expires_at, plain.refreshed_at)


def test_rotation_puts_every_token_under_the_current_key(warehouse: Warehouse, clock: FakeClock) -> None:
    old = TokenStore(warehouse.engine, Cipher([OLD_KEY]), clock, warehouse.locks)
    old.save_consent(with_id_token(), opened("a", "b"), now=NOW)
    both = TokenStore(warehouse.engine, Cipher([KEY, OLD_KEY]), clock, warehouse.locks)
    both.save_consent(tokens(refresh=False), opened("c"), now=NOW)
    assert both.rotate() == 2
    assert both.rotate() == 0
    only_new = TokenStore(warehouse.engine, Cipher([KEY]), clock, warehouse.locks)
    assert only_new.tokens("a") == only_new.tokens("b") == with_id_token()
    assert only_new.tokens("c") == tokens(refresh=False)


def test_rotation_with_one_value_that_no_key_opens_changes_nothing(warehouse: Warehouse, clock: FakeClock) -> None:
    old = TokenStore(warehouse.engine, Cipher([OLD_KEY]), clock, warehouse.locks)
    old.save_consent(tokens(), opened("a", "b"), now=NOW)
    with warehouse.engine.begin() as connection:
        spoilt = {"refresh_token": Cipher([b"z" * 32]).encrypt("x", associated_data("b", "refresh_token"))}
        connection.execute(update(xero_tokens).where(xero_tokens.c.tenant_id == "b").values(spoilt))
    before = stored(warehouse)
    with pytest.raises(NotDecryptable, match="Organisation b"):
        TokenStore(warehouse.engine, Cipher([KEY, OLD_KEY]), clock, warehouse.locks).rotate()
    assert stored(warehouse) == before


def test_only_one_may_refresh_a_grant_while_others_go_on(store: TokenStore) -> None:
    with (
        store.hold_refresh_lock("grant-1"),
        store.hold_refresh_lock("grant-2", timeout=0.05),
        pytest.raises(LockTimeout),
        store.hold_refresh_lock("grant-1", timeout=0.05),
    ):
        pass


def test_many_threads_with_an_expired_token_refresh_it_once(store: TokenStore) -> None:
    store.save_consent(tokens("0"), opened("a", "b"), now=NOW)
    asked: list[str] = []

    def use(tenant: str) -> None:
        with store.hold_refresh_lock(store.organisation(tenant).grant_id):
            held = store.tokens(tenant)
            if held.access_token == "access-0":
                asked.append(held.refresh_token)
                store.save_refreshed(store.organisation(tenant).grant_id, tokens("1"))

    threads = [threading.Thread(target=use, args=("ab"[number % 2],)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["refresh-0"]
    assert store.tokens("b") == tokens("1")


def test_the_log_of_a_sync_does_not_touch_an_organisation_that_left_meanwhile(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue(), tenant_id="gone", week=WEEK)
    assert warehouse.tokens.organisations() == []


def test_a_connection_is_marked_only_for_the_consent_that_showed_it(store: TokenStore) -> None:
    [old] = store.save_consent(tokens(), opened("a"), now=NOW)
    [new] = store.save_consent(tokens(), opened("a"), now=NOW)
    store.set_status("a", ConnectionStatus.RECONNECT_NEEDED, grant_id=old.grant_id)
    assert store.organisation("a").status is ConnectionStatus.CONNECTED
    store.set_status("a", ConnectionStatus.RECONNECT_NEEDED, grant_id=new.grant_id)
    assert store.organisation("a").status is ConnectionStatus.RECONNECT_NEEDED
