"""The base class of every error that a person can do something about.

Each area has its own tree: `xero/errors.py` for Xero, `warehouse/errors.py` for the database, `settings/` for the
settings. Code that talks to a person (the command line, the admin page, an alert) catches `PipelineError` and needs
no other class.
"""

from __future__ import annotations

from typing import ClassVar

from xero_pipeline.printable import replace_control_characters


class PipelineError(Exception):
    """An error that says what happened and what to do about it.

    The text is one line. It holds no secret, no token and no figure from the books.
    """

    code: ClassVar[str] = "error"
    """A short, stable name for programs that read the error."""

    default_advice: ClassVar[str] = ""

    def __init__(self, what: str, *, advice: str | None = None) -> None:
        self.what = _make_one_line(what)
        self.advice = _make_one_line(self.default_advice if advice is None else advice)
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()


def _make_one_line(text: str) -> str:
    # An organisation's name in the text may hold any character.
    return " ".join(replace_control_characters(text).split())
