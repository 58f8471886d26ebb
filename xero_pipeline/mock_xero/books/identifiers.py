"""Ids and numbers of generated documents. Each encodes the document's week; ids look like any UUID.

So a document is found without generating ten years of books. Outside the mock this cannot be noticed.
"""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

# An odd factor has an inverse modulo a power of two, so the first eight digits can be decoded.
_SPREAD = 0x9E3779B1
_GATHER = pow(_SPREAD, -1, 1 << 32)
_POSITIONS_PER_WEEK = 1 << 12


def make_document_id(seed: str, week: int, position: int) -> str:
    """The id of the document at a position in a week."""
    index = week * _POSITIONS_PER_WEEK + position
    digest = hashlib.sha256(f"{seed}\x1fdocument\x1f{index}".encode()).digest()
    first = (index * _SPREAD + _hash_offset(seed)) % (1 << 32)
    return str(UUID(bytes=first.to_bytes(4, "big") + digest[:12], version=4))


def locate_document(seed: str, identifier: str) -> tuple[int, int] | None:
    """The week number and position that an id encodes, `None` for an id that was not generated here."""
    try:
        first = int.from_bytes(UUID(identifier).bytes[:4], "big")
    except ValueError:
        return None
    week, position = divmod((first - _hash_offset(seed)) * _GATHER % (1 << 32), _POSITIONS_PER_WEEK)
    return (week, position) if make_document_id(seed, week, position) == str(UUID(identifier)) else None


def make_document_number(prefix: str, week: int, position: int) -> str:
    """The number of the document at a position in a week, for people to read."""
    return f"{prefix}-{week:04d}{position:03d}"


def parse_week_number(number: str) -> int | None:
    """The week number that a document number encodes, `None` for one that was not generated here."""
    match = re.fullmatch(r"[A-Z]+-([0-9]{4})[0-9]{3}", number)
    return int(match[1]) if match else None


def _hash_offset(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\x1foffset".encode()).digest()[:4], "big")
