"""Xero's `where` and `order` parameters: parses the small filter language and applies it to plain fields.

Supported: comparisons with ==, !=, <, <=, >, >=, joined by AND, &&, OR, || and brackets; strings in double
quotes, numbers, true, false, null, DateTime(…) and Guid("…"). Anything else is refused as Xero refuses what it
does not support.
"""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Fields = Mapping[str, Any]
Test = Callable[[Fields], bool]


class QueryProblem(Exception):
    """A `where` or `order` that Xero would reject; the text is in Xero's wording."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter.

    Attributes:
        test: returns whether a document's fields pass.
        first, last: no document with a `Date` outside these days can pass; `None` means no bound.
    """

    test: Test
    first: dt.date | None = None
    last: dt.date | None = None


_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"[^\"]*\")|(?P<number>-?\d+(?:\.\d+)?)|(?P<op>==|!=|>=|<=|<>|&&|\|\||[=<>(),])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_.]*))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def parse_filter(text: str, known: Fields, kind: str) -> Filter:
    """Parse a `where`.

    Args:
        known: the fields that exist, each with an example value of its type.
        kind: Xero's name for the filtered type, for its error message.

    Raises:
        QueryProblem: the text cannot be parsed or names an unknown field.
    """
    return _FilterParser(text, known, kind).parse()


def sort_by(order: str, rows: list[Any], fields: Callable[[Any], Fields], known: Fields, kind: str) -> None:
    """Sort in place by an `order` such as `Date DESC, InvoiceID`."""
    for part in reversed(order.split(",")):
        words = part.split()
        if len(words) not in (1, 2) or (len(words) == 2 and words[1].upper() not in ("ASC", "DESC")):
            raise QueryProblem("Syntax error in the order clause")
        name = _match_field_name(words[0], known, kind)
        rows.sort(key=lambda row: fields(row)[name], reverse=len(words) == 2 and words[1].upper() == "DESC")


def _match_field_name(name: str, known: Fields, kind: str) -> str:
    match = next((field for field in known if field.lower() == name.lower()), None)
    if match is None:
        raise QueryProblem(f"No property or field '{name.split('.')[-1]}' exists in type '{kind}'")
    return match


class _FilterParser:
    def __init__(self, text: str, known: Fields, kind: str) -> None:
        self._known = known
        self._kind = kind
        self._tokens = self._tokenise(text)
        self._next = 0

    def parse(self) -> Filter:
        parsed = self._parse_or()
        if self._next != len(self._tokens):
            raise QueryProblem("Syntax error")
        return parsed

    def _tokenise(self, text: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise QueryProblem(f"Syntax error '{text[position : position + 1].strip() or '?'}'")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self, *wanted: str) -> str:
        kind, text = self._peek()
        if wanted and text not in wanted and kind not in wanted:
            raise QueryProblem("Expression expected" if kind == "end" else f"Syntax error at '{text}'")
        self._next += 1
        return text

    def _parse_or(self) -> Filter:
        parts = [self._parse_and()]
        while self._peek()[1].upper() in ("OR", "||"):
            self._take()
            parts.append(self._parse_and())
        if len(parts) == 1:
            return parts[0]
        firsts, lasts = [part.first for part in parts], [part.last for part in parts]
        return Filter(
            lambda fields: any(part.test(fields) for part in parts),
            None if None in firsts else min(first for first in firsts if first is not None),
            None if None in lasts else max(last for last in lasts if last is not None),
        )

    def _parse_and(self) -> Filter:
        parts = [self._parse_term()]
        while self._peek()[1].upper() in ("AND", "&&"):
            self._take()
            parts.append(self._parse_term())
        if len(parts) == 1:
            return parts[0]
        return Filter(
            lambda fields: all(part.test(fields) for part in parts),
            max((part.first for part in parts if part.first is not None), default=None),
            min((part.last for part in parts if part.last is not None), default=None),
        )

    def _parse_term(self) -> Filter:
        if self._peek()[1] == "(":
            self._take()
            inner = self._parse_or()
            self._take(")")
            return inner
        name = _match_field_name(self._take("name"), self._known, self._kind)
        sign = self._take(*_COMPARE)
        value = self._parse_value()
        if value is not None and not _is_comparable(self._known[name], value):
            raise QueryProblem(f"Operator '{sign}' incompatible with operand types for '{name}'")
        test = _make_comparison(name, sign, value)
        if name == "Date" and isinstance(value, dt.datetime):
            return Filter(test, *_bound_dates(sign, value))
        return Filter(test)

    def _parse_value(self) -> Any:
        kind, text = self._peek()
        self._take("text", "number", "name")
        if kind == "text":
            return text[1:-1]
        if kind == "number":
            return Decimal(text)
        word = text.lower()
        if word in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[word]
        if word == "datetime":
            return self._parse_date_time()
        if word == "guid":
            self._take("(")
            value = self._take("text")[1:-1]
            self._take(")")
            return value
        raise QueryProblem(f"No property or field '{text}' exists in type '{self._kind}'")

    def _parse_date_time(self) -> dt.datetime:
        self._take("(")
        parts = [self._take("number")]
        while self._peek()[1] == ",":
            self._take()
            parts.append(self._take("number"))
        self._take(")")
        if not 3 <= len(parts) <= 6:
            raise QueryProblem("No applicable constructor exists in type 'DateTime'")
        try:
            return dt.datetime(*map(int, parts))  # type: ignore[arg-type]  # noqa: DTZ001 - Xero's has no zone
        except ValueError:
            raise QueryProblem("Year, Month, and Day parameters describe an un-representable DateTime.") from None


def _bound_dates(sign: str, value: dt.datetime) -> tuple[dt.date | None, dt.date | None]:
    """The first and last `Date` that a comparison can allow; the bounds may include a day too many."""
    equal = sign in ("==", "=")
    first = value.date() if sign in (">=", ">") or equal else None
    last = value.date() if sign == "<=" or equal else None
    if sign == "<":
        last = (value - dt.timedelta(microseconds=1)).date()
    return first, last


def _is_comparable(example: object, value: object) -> bool:
    kinds: Sequence[type] = (bool, str, Decimal, dt.datetime)
    return any(isinstance(example, kind) and isinstance(value, kind) for kind in kinds)


def _make_comparison(name: str, sign: str, value: Any) -> Test:
    compare = _COMPARE[sign]

    def test(fields: Fields) -> bool:
        given = fields[name]
        if isinstance(given, str) and isinstance(value, str):
            return compare(given.lower(), value.lower()) if name.endswith("ID") else compare(given, value)
        if given is None or value is None:
            return compare(given, value) if sign in ("==", "=", "!=", "<>") else False
        return compare(given, value)

    return test
