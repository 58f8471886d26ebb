"""The base of everything that can go wrong in a way that a person can mend.

Each area has its own tree: `xero/errors.py` for what Xero answers, `warehouse/errors.py` for the
database, `settings.py` for the settings. Whoever talks to a person (the command line, the admin page,
an alert) catches `PipelineError` and needs to know nothing more.
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """Something went wrong, in words: what happened, and what to do about it.

    The text is one line without a secret, a token, or a figure from the books.
    """

    code: ClassVar[str] = "error"
    """A short stable name, for a program that reads the error."""

    default_advice: ClassVar[str] = ""

    def __init__(self, what: str, *, advice: str | None = None) -> None:
        self.what = " ".join(what.split())
        self.advice = " ".join((self.default_advice if advice is None else advice).split())
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()
