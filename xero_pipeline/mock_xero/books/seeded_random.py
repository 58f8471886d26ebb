"""Chance that falls the same way in every process and every Python: what the made-up books are made of.

Only `Random.random()` is used, since it alone is promised never to change between versions of Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")


def _digest(parts: tuple[object, ...]) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def steady_uuid(*parts: object) -> str:
    """The one UUID of these parts."""
    return str(UUID(bytes=_digest(parts)[:16], version=4))


class SeededRandom:
    """A sequence of throws that its key decides."""

    def __init__(self, *key: object) -> None:
        self.fraction = Random(int.from_bytes(_digest(key)[:8], "big")).random

    def below(self, limit: int) -> int:
        """0 … limit - 1."""
        return int(self.fraction() * limit)

    def between(self, least: int, most: int) -> int:
        """Both ends belong to it."""
        return least + int(self.fraction() * (most - least + 1))

    def percent(self, chance: int) -> bool:
        """True in so many of a hundred throws."""
        return self.fraction() * 100 < chance

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.fraction() * len(choices))]
