"""Xero's `where` and `order` filters: a small language, read and applied to plain fields.

Known: comparisons with ==, !=, <, <=, >, >=, joined by AND, &&, OR, || and brackets; texts in double quotes,
numbers, true, false, null, DateTime(…) and Guid("…"). Whatever else Xero may know is refused as Xero refuses
what it does not know.
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
    """A filter that Xero would not take; the text is Xero's own wording."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read.

    Attributes:
        test: whether a document's fields pass.
        first, last: bounds of `Date` that every document which passes keeps; `None` where there is none.
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


def read_filter(text: str, known: Fields, kind: str) -> Filter:
    """Read a `where`.

    Args:
        known: the fields that there are, each with an example of its type.
        kind: what Xero calls the thing, for its error.

    Raises:
        QueryProblem: it cannot be read, or names a field that there is not.
    """
    return _Reader(text, known, kind).read()


def sort_by(order: str, rows: list[Any], fields: Callable[[Any], Fields], known: Fields, kind: str) -> None:
    """Sort in place by an `order` such as `Date DESC, InvoiceID`."""
    for part in reversed(order.split(",")):
        words = part.split()
        if len(words) not in (1, 2) or (len(words) == 2 and words[1].upper() not in ("ASC", "DESC")):
            raise QueryProblem("Syntax error in the order clause")
        name = _known_name(words[0], known, kind)
        rows.sort(key=lambda row: fields(row)[name], reverse=len(words) == 2 and words[1].upper() == "DESC")


def _known_name(name: str, known: Fields, kind: str) -> str:
    found = next((one for one in known if one.lower() == name.lower()), None)
    if found is None:
        raise QueryProblem(f"No property or field '{name.split('.')[-1]}' exists in type '{kind}'")
    return found


class _Reader:
    def __init__(self, text: str, known: Fields, kind: str) -> None:
        self._known = known
        self._kind = kind
        self._tokens = self._split(text)
        self._next = 0

    def read(self) -> Filter:
        found = self._any_of()
        if self._next != len(self._tokens):
            raise QueryProblem("Syntax error")
        return found

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise QueryProblem(f"Syntax error '{text[at : at + 1].strip() or '?'}'")
            tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        return tokens

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self, *wanted: str) -> str:
        kind, text = self._peek()
        if wanted and text not in wanted and kind not in wanted:
            raise QueryProblem("Expression expected" if kind == "end" else f"Syntax error at '{text}'")
        self._next += 1
        return text

    def _any_of(self) -> Filter:
        parts = [self._all_of()]
        while self._peek()[1].upper() in ("OR", "||"):
            self._take()
            parts.append(self._all_of())
        if len(parts) == 1:
            return parts[0]
        firsts, lasts = [one.first for one in parts], [one.last for one in parts]
        return Filter(
            lambda fields: any(one.test(fields) for one in parts),
            None if None in firsts else min(one for one in firsts if one is not None),
            None if None in lasts else max(one for one in lasts if one is not None),
        )

    def _all_of(self) -> Filter:
        parts = [self._one()]
        while self._peek()[1].upper() in ("AND", "&&"):
            self._take()
            parts.append(self._one())
        if len(parts) == 1:
            return parts[0]
        return Filter(
            lambda fields: all(one.test(fields) for one in parts),
            max((one.first for one in parts if one.first is not None), default=None),
            min((one.last for one in parts if one.last is not None), default=None),
        )

    def _one(self) -> Filter:
        if self._peek()[1] == "(":
            self._take()
            found = self._any_of()
            self._take(")")
            return found
        name = _known_name(self._take("name"), self._known, self._kind)
        sign = self._take(*_COMPARE)
        value = self._value()
        if value is not None and not _comparable(self._known[name], value):
            raise QueryProblem(f"Operator '{sign}' incompatible with operand types for '{name}'")
        test = _comparison(name, sign, value)
        if name == "Date" and isinstance(value, dt.datetime):
            return Filter(test, *_bounds(sign, value))
        return Filter(test)

    def _value(self) -> Any:
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
            return self._date_time()
        if word == "guid":
            self._take("(")
            value = self._take("text")[1:-1]
            self._take(")")
            return value
        raise QueryProblem(f"No property or field '{text}' exists in type '{self._kind}'")

    def _date_time(self) -> dt.datetime:
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


def _bounds(sign: str, value: dt.datetime) -> tuple[dt.date | None, dt.date | None]:
    """The days that a comparison of `Date` leaves; a day too many does no harm."""
    equal = sign in ("==", "=")
    first = value.date() if sign in (">=", ">") or equal else None
    last = value.date() if sign == "<=" or equal else None
    if sign == "<":
        last = (value - dt.timedelta(microseconds=1)).date()
    return first, last


def _comparable(example: object, value: object) -> bool:
    kinds: Sequence[type] = (bool, str, Decimal, dt.datetime)
    return any(isinstance(example, kind) and isinstance(value, kind) for kind in kinds)


def _comparison(name: str, sign: str, value: Any) -> Test:
    compare = _COMPARE[sign]

    def test(fields: Fields) -> bool:
        given = fields[name]
        if isinstance(given, str) and isinstance(value, str):
            return compare(given.lower(), value.lower()) if name.endswith("ID") else compare(given, value)
        if given is None or value is None:
            return compare(given, value) if sign in ("==", "=", "!=", "<>") else False
        return compare(given, value)

    return test
