"""What is too weak to start with, and the one setting that overrules it: `ALLOW_INSECURE`.

Everything here judges a value and describes what is wrong with it, with what to do; `loading.py` refuses to start. No
description repeats a secret.
"""

from __future__ import annotations

import itertools
import math
import re
from enum import StrEnum
from typing import Annotated

from pydantic import field_validator
from pydantic_settings import NoDecode

from xero_pipeline.settings.base import SettingsGroup, setting

# What NIST SP 800-131A asks of a secret that nobody shall guess.
TOKEN_BITS = 128
# A word that a person chooses is one of some eight thousand (Diceware's list: 7,776, which is 12.9 bits).
_BITS_OF_WORD = 13.0
# 32 random hex characters have less than eight different ones once in 30 million times.
_LEAST_CHARACTERS = 8
# 32 random bytes have less than 20 different ones once in 10 million times.
_LEAST_BYTES = 20

_WORD = re.compile(r"[A-Z]?[a-z]{2,}")
# Words with signs between them, and digits at the end at most: `correct horse`, `AdminToken-2026`, `let-me-in!`. In a
# random text digits are everywhere.
_WORDS = re.compile(rf"[\W_]*(?:{_WORD.pattern}[\W_]{{0,2}})+[\W\d_]*")
# English words have some 38 vowels in 100 letters, random letters 23, with y.
_VOWELS = 0.28
_ALPHABETS = (
    (re.compile(r"[0-9]+"), 10),
    (re.compile(r"[0-9a-f]+|[0-9A-F]+"), 16),
    (re.compile(r"[a-z]+|[A-Z]+"), 26),
    (re.compile(r"[a-z0-9]+|[A-Z0-9]+"), 36),
    # Both cases: one base64 text in thirty has no digit or sign.
    (re.compile(r"[A-Za-z0-9_+/=-]+"), 64),
)
_PRINTABLE = 94


class Insecurity(StrEnum):
    """Something that is refused unless `ALLOW_INSECURE` names it."""

    WEAK_SECRETS = "weak_secrets"
    PLAIN_HTTP = "plain_http"
    DATABASE_WITHOUT_TLS = "database_without_tls"
    PORT_SHARED = "port_shared"


class StrengthSettings(SettingsGroup):
    """What the deployer overrules."""

    allow_insecure: Annotated[frozenset[Insecurity], NoDecode] = setting("ALLOW_INSECURE", frozenset())

    @field_validator("allow_insecure", mode="before")
    @classmethod
    def _known_words(cls, value: object) -> object:
        return parse_allowed(value) if isinstance(value, str) else value


def parse_allowed(text: str) -> frozenset[Insecurity]:
    """Read the words of `ALLOW_INSECURE`.

    Raises:
        ValueError: a word is unknown. A misspelt one would otherwise be a refusal that nobody understands.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in set(Insecurity)]
    if unknown:
        raise ValueError(f"must be a list, separated by commas, of {', '.join(Insecurity)}: a word is none of these")
    return frozenset(map(Insecurity, words))


def overrule(insecurity: Insecurity) -> str:
    """The end of a refusal: how to start all the same."""
    return f"or set ALLOW_INSECURE={insecurity} to start all the same"


def describe_weak_token(token: str) -> str | None:
    """What is wrong with a token that lets its holder in; `None` if nobody can guess it."""
    if not token.strip():
        return "consists of blanks"
    if pattern := _find_pattern(token):
        return f"is {pattern}"
    if len(set(token)) < _LEAST_CHARACTERS:
        return f"has only {len(set(token))} different characters"
    if (bits := estimate_bits(token)) < TOKEN_BITS:
        return f"can be guessed: it has some {math.floor(bits)} bits, and {TOKEN_BITS} are needed"
    return None


def estimate_bits(token: str) -> float:
    """How many bits of chance a token has at most: those of its characters, or of its words if it is made of words."""
    size = next((size for pattern, size in _ALPHABETS if pattern.fullmatch(token)), _PRINTABLE)
    bits = len(token) * math.log2(size)
    letters = re.findall(r"[a-z]", token.lower())
    if _WORDS.fullmatch(token) and sum(letter in "aeiouy" for letter in letters) >= _VOWELS * len(letters):
        # A long run of letters counts as a word for each eight.
        words = sum(math.ceil(len(word) / 8) for word in _WORD.findall(token))
        others = len(re.findall(r"\d", token))
        return min(bits, words * _BITS_OF_WORD + others * math.log2(10))
    return bits


def describe_weak_key(text: str) -> str | None:
    """What is wrong with an encryption key of 64 hex characters; `None` if it looks like 32 random bytes."""
    text = text.lower()
    key = bytes.fromhex(text)
    if not any(key):
        return "consists of zeros"
    if len(set(key)) == 1:
        return "is one byte again and again"
    if pattern := _find_pattern(text) or _find_pattern(key.decode("latin-1")):
        return f"is {pattern}"
    # 64 random hex characters have no letter once in 10^13 times, 32 random bytes are all printable as seldom.
    if text.isdecimal():
        return "consists of decimal digits alone"
    if all(32 <= byte < 127 for byte in key):
        return "is a text"
    if len(set(key)) < _LEAST_BYTES:
        return f"has only {len(set(key))} different bytes among 32"
    return None


def _find_pattern(text: str) -> str | None:
    """Describe a short repeat, a sequence such as `abcdef`, or a mirror, which no random text is."""
    if any(text == (text[:period] * len(text))[: len(text)] for period in range(1, len(text) // 2 + 1)):
        return "a repeat of its beginning"
    numbers = [int(character, 16) for character in text] if re.fullmatch(r"[0-9a-f]+", text) else list(map(ord, text))
    modulus = 16 if re.fullmatch(r"[0-9a-f]+", text) else 256
    steps = [(after - before) % modulus for before, after in itertools.pairwise(numbers)]
    if len(steps) > 2 and max(map(steps.count, set(steps))) > len(steps) * 0.8:
        return "a sequence"
    if len(text) > 3 and text == text[::-1]:
        return "a mirror of its first half"
    return None
