"""Ids and numbers of made-up documents: each tells which week the document lies in; ids look like any UUID.

So one document is found without reading ten years of books. Nobody outside the mock can tell.
"""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

# An odd number has an inverse modulo a power of two, so the first eight digits can be read back.
_SPREAD = 0x9E3779B1
_GATHER = pow(_SPREAD, -1, 1 << 32)
_PLACES = 1 << 12


def document_id(seed: str, week: int, position: int) -> str:
    """The id of the document at that place of that week."""
    place = week * _PLACES + position
    digest = hashlib.sha256(f"{seed}\x1fdocument\x1f{place}".encode()).digest()
    first = (place * _SPREAD + _offset(seed)) % (1 << 32)
    return str(UUID(bytes=first.to_bytes(4, "big") + digest[:12], version=4))


def place_of(seed: str, identifier: str) -> tuple[int, int] | None:
    """The week and the place in it, `None` where the id is none of ours."""
    try:
        first = int.from_bytes(UUID(identifier).bytes[:4], "big")
    except ValueError:
        return None
    week, position = divmod((first - _offset(seed)) * _GATHER % (1 << 32), _PLACES)
    return (week, position) if document_id(seed, week, position) == str(UUID(identifier)) else None


def document_number(prefix: str, week: int, position: int) -> str:
    """What people call the document at that place of that week."""
    return f"{prefix}-{week:04d}{position:03d}"


def week_of_number(number: str) -> int | None:
    """The week in a number, `None` where it is none of ours."""
    found = re.fullmatch(r"[A-Z]+-([0-9]{4})[0-9]{3}", number)
    return int(found[1]) if found else None


def _offset(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\x1foffset".encode()).digest()[:4], "big")
