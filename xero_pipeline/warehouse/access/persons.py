"""The persons who may use the admin page, each with a role and an access token.

The table holds a hash of each token and never the token. A plain SHA-256 is enough: a token has 256 random bits, so
nobody can find it by trying, and no salt or slow hash makes that harder.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Engine, Row, Table, Text, UniqueConstraint, delete, func, insert, select

from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.errors import WarehouseError

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    # NULL for a person who only signs in at the proxy of TRUSTED_PROXIES.
    Column("token_hash", Text),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("role IN ('viewer', 'operator', 'owner')", name="role"),
    UniqueConstraint("token_hash"),
)

_PREFIX = "xeropipe_"
"""Begins every token, so that scanners for leaked secrets can recognise one."""
_TOKEN = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[^\W_](?:[\w .@+'-]{0,62}[\w.@+'-])?")
# The audit log has these names for actors that are no person of this table.
RESERVED_NAMES = frozenset({"admin", "local", "unknown"})


class PersonNotAdded(WarehouseError):
    """The name cannot be used. The text says why."""

    code = "person_not_added"


class UnknownPerson(WarehouseError):
    code = "unknown_person"
    default_advice = "`xero-pipeline access list` shows who has access."


@dataclass(frozen=True, slots=True)
class Person:
    """A person who may use the admin page. `credential` is what a session of theirs is bound to; it is no secret."""

    name: str
    role: AccessRole
    has_token: bool
    created_at: datetime
    credential: str

    def as_dict(self) -> dict[str, Any]:
        """The form of the HTTP API and of `--json`."""
        return {
            "name": self.name,
            "role": self.role.value,
            "hasToken": self.has_token,
            "createdAt": self.created_at.isoformat(),
        }


class Persons:
    """The table of persons. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, name: str, role: AccessRole, *, now: datetime, with_token: bool = True) -> str | None:
        """Add a person and return the new access token, which nobody can read again.

        Args:
            with_token: `False` for a person who only signs in at the proxy; then `None` is returned.

        Raises:
            PersonNotAdded: the name is taken, reserved or malformed.
        """
        if not _NAME.fullmatch(name):
            raise PersonNotAdded(
                "This name cannot be used.",
                advice="Use 1 to 64 letters, digits, spaces and .@+'-_, beginning with a letter or a digit.",
            )
        if name.lower() in RESERVED_NAMES:
            raise PersonNotAdded(f"The name {name} is reserved.", advice="Choose another.")
        token = _PREFIX + secrets.token_urlsafe(32) if with_token else None
        values = {"name": name, "role": AccessRole(role).value, "token_hash": token and _hash(token), "created_at": now}
        with self._engine.begin() as connection:
            # Two names that differ only in case would look like one person in the audit log.
            same = select(access_tokens.c.name).where(func.lower(access_tokens.c.name) == name.lower())
            taken = connection.execute(same).scalar()
            if taken is not None:
                raise PersonNotAdded(
                    f"{taken} has access already.", advice="Remove this person first, or choose another name."
                )
            connection.execute(insert(access_tokens).values(values))
        return token

    def remove(self, name: str) -> Person:
        """Remove a person, whose token and sessions are then refused, and return who it was.

        Raises:
            UnknownPerson: nobody has that name.
        """
        statement = delete(access_tokens).where(access_tokens.c.name == name).returning(*access_tokens.c)
        with self._engine.begin() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise UnknownPerson("Nobody of that name has access.")
        return _to_person(row)

    def list_all(self) -> list[Person]:
        """Everybody, in the order of names."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(access_tokens).order_by(access_tokens.c.name)).all()
        return [_to_person(row) for row in rows]

    def find_by_token(self, token: str) -> Person | None:
        """Find whose token it is. What does not look like a token is not looked up."""
        return self._find(access_tokens.c.token_hash == _hash(token)) if _TOKEN.fullmatch(token) else None

    def find_by_name(self, name: str) -> Person | None:
        return self._find(access_tokens.c.name == name)

    def find_by_credential(self, credential: str) -> Person | None:
        """Find the person whom a credential belongs to. After a removal it belongs to nobody, also if the same name
        is added again."""
        kind, _, value = credential.partition(":")
        if kind == "token":
            return self._find(access_tokens.c.token_hash == value)
        moment, _, name = value.partition("|")
        person = self._find(access_tokens.c.name == name) if kind == "person" else None
        return person if person is not None and person.created_at.isoformat() == moment else None

    def _find(self, condition: Any) -> Person | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(access_tokens).where(condition)).one_or_none()
        return None if row is None else _to_person(row)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _to_person(row: Row[Any]) -> Person:
    return Person(
        name=row.name,
        role=AccessRole(row.role),
        has_token=row.token_hash is not None,
        created_at=row.created_at,
        credential=(f"token:{row.token_hash}" if row.token_hash else f"person:{row.created_at.isoformat()}|{row.name}"),
    )
