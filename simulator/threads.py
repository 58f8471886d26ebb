"""Stands in for `WorkerThreads`: does each piece of work when it is submitted, so that a seed decides everything."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class InlineThreads:
    """`WorkerThreads` with one thread: the caller's. The threads themselves have their own tests."""

    def __init__(self, most: int, name: str) -> None:
        del most, name

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        try:
            result = context.run(function)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def __enter__(self) -> InlineThreads:
        return self

    def __exit__(self, *_: object) -> None:
        return
