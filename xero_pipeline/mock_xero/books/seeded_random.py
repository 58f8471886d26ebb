"""Random numbers that are the same in every process and Python version, from which the books are generated.

Only `Random.random()` is used: Python promises for it alone that it does not change between versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")


def _hash_parts(parts: tuple[object, ...]) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def derive_uuid(*parts: object) -> str:
    """A UUID that depends only on these parts."""
    return str(UUID(bytes=_hash_parts(parts)[:16], version=4))


class SeededRandom:
    """A sequence of random numbers that depends only on its key."""

    def __init__(self, *key: object) -> None:
        self.draw_fraction = Random(int.from_bytes(_hash_parts(key)[:8], "big")).random

    def draw_below(self, limit: int) -> int:
        """A number from 0 to limit - 1."""
        return int(self.draw_fraction() * limit)

    def draw_between(self, least: int, most: int) -> int:
        """A number from least to most, both included."""
        return least + int(self.draw_fraction() * (most - least + 1))

    def has_chance(self, chance: int) -> bool:
        """True with a chance of this many per cent."""
        return self.draw_fraction() * 100 < chance

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.draw_fraction() * len(choices))]
