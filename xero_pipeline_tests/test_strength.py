"""It does not start weak: each weak setting is one line that says how to go on, and one setting overrules it."""

from __future__ import annotations

import base64
import os
import random
import shutil
import socket
import socketserver
import string
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.cli.listening import PortTaken, listen
from xero_pipeline.cli.loopback import listen_on_other_loopback
from xero_pipeline.dagster_home import DagsterUnusable, open_instance
from xero_pipeline.dagster_storage import is_server_unverified
from xero_pipeline.settings import Settings, SettingsError, load_settings
from xero_pipeline.settings.strength import Insecurity, describe_weak_key, describe_weak_token
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.errors import DatabaseUnavailable

KEY = "9f3b0c57d2e8461ab07c94e5f1d86a2374be0d95c8a1f6e3527b8d40196ce7fa"
SQL_PASSWORD = "the-password-of-the-database"


@pytest.fixture(autouse=True)
def _clear_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("XERO_", "DAGSTER_", "PG")) or name in {"DATABASE_URL", "ADMIN_TOKEN", "ALLOW_INSECURE"}:
            monkeypatch.delenv(name)


def load(**values: Any) -> Settings:
    return load_settings(**{"XERO_MOCK_MODE": "true", "XERO_ENCRYPTION_KEY": KEY} | values)


def postgres(rest: str) -> str:
    return f"postgresql+psycopg://xero:{SQL_PASSWORD}@{rest}"


WEAK = [
    # Tokens: blanks, short ones, repeats, sequences, and what a person thinks of.
    ("ADMIN_TOKEN", "   ", "consists of blanks", "weak_secrets"),
    ("ADMIN_TOKEN", "letmein-2026!", "can be guessed", "weak_secrets"),
    ("ADMIN_TOKEN", "changeme-changeme-changeme-changeme", "is a repeat of its beginning", "weak_secrets"),
    ("ADMIN_TOKEN", "a" * 64, "is a repeat of its beginning", "weak_secrets"),
    ("ADMIN_TOKEN", "Xy9$" * 16, "is a repeat of its beginning", "weak_secrets"),
    ("ADMIN_TOKEN", string.ascii_lowercase + string.digits, "is a sequence", "weak_secrets"),
    ("ADMIN_TOKEN", "correct horse battery staple", "can be guessed: it has some 52 bits", "weak_secrets"),
    ("ADMIN_TOKEN", "TheOwnersVerySecretToken2026", "can be guessed", "weak_secrets"),
    ("ADMIN_TOKEN", "ab1ab2ba1bab2aab1baab2abbba1bba2baba1bb2b", "has only 4 different characters", "weak_secrets"),
    ("ADMIN_TOKEN", "f3a9c1d27b5e8064f3a9c1d27b5e8064", "is a repeat of its beginning", "weak_secrets"),
    ("ADMIN_TOKEN", "83920174650192837465019283746", "can be guessed", "weak_secrets"),
    ("ADMIN_TOKEN", "9c1e5ab7d3f2086493bb1a70c5de82f", "can be guessed: it has some 124 bits", "weak_secrets"),
    # Keys with a pattern.
    ("XERO_ENCRYPTION_KEY", "0" * 64, "consists of zeros", "weak_secrets"),
    ("XERO_ENCRYPTION_KEY", "5e" * 32, "is one byte again and again", "weak_secrets"),
    ("XERO_ENCRYPTION_KEY", "DEADBEEF" * 8, "is a repeat of its beginning", "weak_secrets"),
    ("XERO_ENCRYPTION_KEY", "c0ffee" * 10 + "beef", "different bytes", "weak_secrets"),
    ("XERO_ENCRYPTION_KEY", bytes(range(32)).hex(), "is a sequence", "weak_secrets"),
    ("XERO_ENCRYPTION_KEY", bytes(range(255, 223, -1)).hex(), "is a sequence", "weak_secrets"),
    ("XERO_ENCRYPTION_KEY", "0123456789abcdef" * 4, "is a repeat of its beginning", "weak_secrets"),
    ("XERO_ENCRYPTION_KEY", "31415926535897932384626433832795" * 2, "is a repeat of its beginning", "weak_secrets"),
    (
        "XERO_ENCRYPTION_KEY",
        "3141592653589793238462643383279502884197169399375105820974944592",
        "digits",
        "weak_secrets",
    ),
    ("XERO_ENCRYPTION_KEY", b"my own key, kept in my own head!".hex(), "is a text", "weak_secrets"),
    # Passwords in clear text.
    ("SERVER_URL", "http://xero.example.com", "must be https off loopback", "plain_http"),
    ("SERVER_URL", "http://192.0.2.7:3001", "must be https off loopback", "plain_http"),
    ("SERVER_URL", "http://localhost.example.com", "must be https off loopback", "plain_http"),
    ("DATABASE_URL", postgres("db.example.com/x?sslmode=disable"), "sslmode=disable", "database_without_tls"),
    ("DATABASE_URL", postgres("192.0.2.7/x?sslmode=require"), "sslmode=require", "database_without_tls"),
    (
        "DATABASE_URL",
        postgres("/x?host=localhost,db.example.com&sslmode=allow"),
        "sslmode=allow",
        "database_without_tls",
    ),
    ("DATABASE_URL", postgres("/x?service=books&sslmode=prefer"), "sslmode=prefer", "database_without_tls"),
]


def test_twenty_weak_settings_are_tried() -> None:
    assert len(WEAK) >= 20
    assert {word for *_, word in WEAK} | {"port_shared"} == set(Insecurity)


@pytest.mark.parametrize(("name", "value", "problem", "word"), WEAK)
def test_a_weak_setting_is_refused_in_one_line_and_one_setting_overrules_it(
    name: str, value: str, problem: str, word: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    line = str(caught.value)
    assert line.startswith(name)
    assert problem in line
    assert f"or set ALLOW_INSECURE={word} to start all the same" in line
    assert "\n" not in line
    assert value not in line
    assert SQL_PASSWORD not in line
    others = ",".join(set(Insecurity) - {word})
    with pytest.raises(SettingsError):
        load(ALLOW_INSECURE=others, **{name: value})
    load(ALLOW_INSECURE=f" {word} ,", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("SERVER_URL", url)
            for url in ("http://localhost:3001", "http://127.0.0.1", "http://[::1]:80", "https://x.y")
        ),
        ("SERVER_URL", "http://xero.localhost:3001"),
        *(("DATABASE_URL", postgres(host)) for host in ("localhost/x?sslmode=disable", "127.0.0.1/x?sslmode=prefer")),
        ("DATABASE_URL", "postgresql+psycopg:///xero?sslmode=disable&host=/run/postgresql"),
        ("DATABASE_URL", postgres("db.example.com/x?sslmode=verify-ca")),
        ("ADMIN_TOKEN", "arch nomad pulse tidal wrench mango quilt ferry bison lunar"),
        ("XERO_ENCRYPTION_KEYS_RETIRED", "0" * 64),
    ],
)
def test_what_is_strong_enough_is_accepted(name: str, value: str) -> None:
    load(**{name: value})


@pytest.mark.parametrize("value", ["everything", "weak_secrets,plain_htpp", "WEAK_SECRETS", "weak_secrets plain_http"])
def test_an_unknown_word_in_allow_insecure_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="ALLOW_INSECURE must be a list, separated by commas, of weak_secrets, "):
        load(ALLOW_INSECURE=value)


def test_all_weak_settings_are_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"XERO_ENCRYPTION_KEY consists .*; ADMIN_TOKEN .*; SERVER_URL must"):
        load(XERO_ENCRYPTION_KEY="0" * 64, ADMIN_TOKEN="letmein-2026!", SERVER_URL="http://a.example")


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) >= 20))
def test_no_random_key_is_refused(key: bytes) -> None:
    # Hypothesis likes texts and sequences, so what it makes is mixed with what is certainly random.
    mixed = bytes(a ^ b for a, b in zip(key, bytes.fromhex(KEY), strict=True))
    assert describe_weak_key(mixed.hex()) is None or len(set(mixed)) < 20


def test_what_the_usual_commands_make_is_not_refused() -> None:
    # The same tokens in every run: of a million of the shortest ones, one or two happen to look like words.
    chance = random.Random(2026)
    for _ in range(3_000):
        assert describe_weak_key(chance.randbytes(32).hex()) is None
        for token in (
            chance.randbytes(16).hex(),
            chance.randbytes(24).hex(),
            base64.urlsafe_b64encode(chance.randbytes(16)).decode().rstrip("="),
            base64.b64encode(chance.randbytes(32)).decode(),
            str(uuid.UUID(bytes=chance.randbytes(16))),
        ):
            assert describe_weak_token(token) is None, token


# ---- a false PostgreSQL server ----------------------------------------------------------------------------------


class FalseServer(socketserver.ThreadingTCPServer):
    """Refuses TLS and asks for the password in clear text, as somebody who took the right server's address does."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _FalseHandler)
        self.received = b""


class _FalseHandler(socketserver.BaseRequestHandler):
    server: FalseServer

    def handle(self) -> None:
        self.request.settimeout(10)
        # It hangs up after the password, for whose answer the client would wait.
        while data := self._receive():
            self.server.received += data
            if data.startswith(b"p"):
                return
            if data[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):
                # SSLRequest and GSSENCRequest: N is "not here".
                self.request.sendall(b"N")
            else:
                # AuthenticationCleartextPassword.
                self.request.sendall(b"R\0\0\0\x08\0\0\0\x03")

    def _receive(self) -> bytes:
        try:
            return bytes(self.request.recv(65_536))
        except OSError:
            return b""


@pytest.fixture
def false_server() -> Iterator[FalseServer]:
    pytest.importorskip("psycopg")
    with FalseServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "it does not offer TLS, so it was given no password|its certificate cannot be checked"),
        ({"ALLOW_INSECURE": "database_without_tls"}, "it asks for the password in clear text, and was not given it"),
    ],
)
def test_a_false_server_gets_no_password(
    false_server: FalseServer, settings: dict[str, str], reason: str, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    port = false_server.server_address[1]
    # The name is another machine's; `hostaddr` says where it was resolved to.
    url = postgres(f"db.example.com:{port}/xero?hostaddr=127.0.0.1&sslrootcert={authority}")
    engine = open_engine(load(DATABASE_URL=url, **settings).database_url, pooled=False)
    with pytest.raises(DatabaseUnavailable, match=reason) as caught, engine.connect():
        pass
    assert false_server.received
    assert SQL_PASSWORD.encode() not in false_server.received
    assert SQL_PASSWORD not in str(caught.value)


def test_the_false_server_would_get_the_password_of_an_unguarded_client(false_server: FalseServer) -> None:
    port = false_server.server_address[1]
    engine = open_engine(postgres(f"127.0.0.1:{port}/xero"), pooled=False)
    with pytest.raises(DatabaseUnavailable), engine.connect():
        pass
    assert SQL_PASSWORD.encode() in false_server.received


@pytest.mark.parametrize(
    ("rest", "mode"),
    [
        ("db.example.com/x", "verify-full"),
        ("db.example.com/x?sslmode=verify-ca", "verify-ca"),
        ("/x?host=db.example.com:5433", "verify-full"),
        ("localhost/x?hostaddr=192.0.2.7", "verify-full"),
        ("localhost/x", None),
        ("127.0.0.2:5433/x", None),
        ("[::1]:5433/x", None),
        ("/x?host=[::1]:5433&host=localhost:5434", None),
        ("/x?host=/run/postgresql", None),
        ("/x", None),
    ],
)
def test_only_a_server_on_this_machine_need_not_show_a_certificate(rest: str, mode: str | None) -> None:
    assert load(DATABASE_URL=postgres(rest)).database_url.query.get("sslmode") == mode


def test_the_server_of_the_environment_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    assert load(DATABASE_URL=postgres("/x")).database_url.query["sslmode"] == "verify-full"


_STORAGE = "storage:\n  postgres:\n    postgres_{}\n"


@pytest.mark.parametrize(
    ("storage", "is_refused"),
    [
        ("db: {hostname: db.example.com, username: u, db_name: d}", True),
        ("db: {hostname: {env: DAGSTER_PG_HOST}, username: u, db_name: d, params: {sslmode: require}}", True),
        ("url: postgresql+psycopg2://u@db.example.com/d?sslmode=prefer", True),
        ("db: {hostname: db.example.com, username: u, db_name: d, params: {sslmode: verify-full}}", False),
        ("url: postgresql+psycopg2://u@db.example.com/d?sslmode=verify-ca", False),
        ("db: {hostname: localhost, username: u, db_name: d}", False),
        ("db: {hostname: {env: NOT_SET}, username: u, db_name: d}", False),
        ("db: [nonsense", False),
    ],
)
def test_dagsters_own_server_must_show_a_certificate_too(
    storage: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_PG_HOST", "192.0.2.7")
    (tmp_path / "dagster.yaml").write_text(_STORAGE.format(storage))
    assert is_server_unverified(tmp_path / "dagster.yaml") is is_refused


def test_dagsters_storage_may_take_its_certificate_check_from_libpqs_own_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_PG_HOST", "db.example.com")
    shutil.copy(Path(__file__).parent.parent / "deploy" / "dagster.yaml", tmp_path)
    for mode, is_refused in (("require", True), ("verify-full", False)):
        monkeypatch.setenv("PGSSLMODE", mode)
        assert is_server_unverified(tmp_path / "dagster.yaml") is is_refused
    if is_refused:
        with pytest.raises(DagsterUnusable, match=r"not checked\..*params: .*ALLOW_INSECURE=database_without_tls"):
            open_instance(load(DAGSTER_HOME=str(tmp_path)))


# ---- the page's port on the other loopback address -------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def close(*sockets: socket.socket) -> None:
    for one in sockets:
        one.close()


@needs_ipv6
@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("0.0.0.0", "::1")])  # noqa: S104
def test_the_page_listens_on_both_loopback_addresses(host: str, other: str) -> None:
    listening = listen("The page", host, 0)
    twins = listen_on_other_loopback("The page", listening, ())
    try:
        with socket.create_connection((other, listening.getsockname()[1]), timeout=10):
            pass
        assert len(twins) == 1
    finally:
        close(listening, *twins)


@needs_ipv6
def test_a_port_that_somebody_else_has_on_the_other_loopback_address_is_refused() -> None:
    listening = listen("The page", "127.0.0.1", 0)
    port = listening.getsockname()[1]
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        with pytest.raises(PortTaken, match=rf"cannot listen on ::1, port {port}.*ALLOW_INSECURE=port_shared"):
            listen_on_other_loopback("The page", listening, ())
        listening = listen("The page", "127.0.0.1", port)
        assert listen_on_other_loopback("The page", listening, {Insecurity.PORT_SHARED}) == []
    close(listening)
