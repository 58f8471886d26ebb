"""What people change inside Dagster's UI, for the audit log.

The UI changes things by GraphQL mutations, which it sends by POST. They reach Dagster unchanged. The log gets the names
of a mutation's fields, such as `launchPipelineExecution`, and never its variables.
"""

from __future__ import annotations

import json
import logging
import re
import textwrap
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import anyio
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xero_pipeline.admin.roles import GRAPHQL_PATH, SAFE_METHODS
from xero_pipeline.admin.sessions import Visitor
from xero_pipeline.audit import AuditTrail
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import DAGSTER_PATH
from xero_pipeline.warehouse.access.audit_log import LONGEST_TEXT, AuditAction, AuditOutcome

log = logging.getLogger("xero_pipeline.admin")

# The UI sends these by itself: how it is used (which Dagster drops where telemetry is off), and that its welcome was
# seen.
UNRECORDED_MUTATIONS = frozenset({"logTelemetry", "setNuxSeen"})
# Stands for the names of a document whose nesting is too deep to be read.
UNREADABLE = "unreadable"
# Dagster's schema has about forty mutations. A document with more names has a wrong one, and none of it is executed.
_MAX_NAMES = 100
# So much of an answer is read for errors. The answer to a mutation has some hundred bytes.
_MAX_ANSWER_BYTES = 64 * 1024
# The types in which Dagster's mutations answer with status 200 that they did not do it, such as `PythonError`.
_ERROR_TYPE = re.compile(r"(Error|Failure|Conflict|Invalid|NotFound|NotSupported)$")
_THREADS = 4

Result = TypeVar("Result")


class DagsterChangeRecorder:
    """Passes everything on to Dagster, and records who has changed what and how it ended."""

    def __init__(self, dagster_ui: ASGIApp, trail: AuditTrail) -> None:
        self._dagster_ui = dagster_ui
        self._trail = trail
        # Threads of its own: parsing and writing must neither hold up the event loop nor wait for the routes.
        self._limiter: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        elif scope["method"] in SAFE_METHODS:
            await self._dagster_ui(scope, receive, send)
        else:
            await self._serve_change(scope, receive, send)

    async def _serve_change(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, body, answer = Request(scope), bytearray(), bytearray()
        status, is_recorded = 500, False

        async def receive_and_keep() -> Message:
            # Dagster holds the whole body as well, and the door limits its length.
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def record() -> None:
            nonlocal is_recorded
            is_recorded = True
            await self._run_in_thread(lambda: self._record(request, bytes(body), status, bytes(answer)))

        async def record_and_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                answer.extend(message.get("body", b"")[: _MAX_ANSWER_BYTES - len(answer)])
                if not message.get("more_body", False):
                    await record()
            await send(message)

        try:
            await self._dagster_ui(scope, receive_and_keep, record_and_send)
        finally:
            if not is_recorded:
                # There is no whole answer, so how it ended is not known.
                status = 500
                await record()

    def _record(self, request: Request, body: bytes, status: int, answer: bytes) -> None:
        names = find_changes(request, body)
        if names:
            is_done = status < 400 and not has_errors(answer)
            self._write(request, names, AuditOutcome.SUCCESS if is_done else AuditOutcome.FAILED)

    def _write(self, connection: HTTPConnection, names: list[str], outcome: AuditOutcome) -> None:
        visitor: Visitor = connection.state.visitor
        # Several rows, where one would cut off a name.
        for line in textwrap.wrap(", ".join(names), LONGEST_TEXT):
            subject = line.rstrip(",")
            try:
                self._trail.record(visitor.actor, AuditAction.DAGSTER_CHANGE, subject, outcome)
            except (PipelineError, SQLAlchemyError) as failure:
                # Dagster has done it: an error would only make the person do it twice.
                reason = type(failure).__name__
                log.warning("%s by %s is not in the audit log (%s)", subject, visitor.actor.who, reason)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the UI's subscriptions. Dagster executes nothing else there; a mutation ends the connection."""
        is_refused = False

        async def receive_subscriptions() -> Message:
            nonlocal is_refused
            message = await receive()
            text = message.get("text") or message.get("bytes")
            names = await self._run_in_thread(lambda: find_started_mutations(text)) if text else []
            if not names:
                return message
            await self._run_in_thread(lambda: self._write(HTTPConnection(scope), names, AuditOutcome.REFUSED))
            await send({"type": "websocket.close", "code": 1008})
            is_refused = True
            return {"type": "websocket.disconnect", "code": 1008}

        async def send_unless_refused(message: Message) -> None:
            if not is_refused:
                await send(message)

        await self._dagster_ui(scope, receive_subscriptions, send_unless_refused)

    async def _run_in_thread(self, call: Callable[[], Result]) -> Result:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        return await anyio.to_thread.run_sync(call, limiter=self._limiter)


def find_changes(request: Request, body: bytes) -> list[str]:
    """List what a request that is not of a safe method changes: its mutations, or the first part of its path.

    The query is looked for where Dagster's webserver reads it, which depends on the Content-Type.
    """
    path: str = request.scope["path"]
    if path.rstrip("/") != GRAPHQL_PATH:
        return [path.removeprefix(f"{DAGSTER_PATH}/").split("/", 1)[0]]
    content_type = request.headers.get("Content-Type", "")
    if "application/json" in content_type:
        return _find_in_json(body, lambda found: found)
    if "application/graphql" in content_type:
        return find_mutations({"query": body.decode(errors="replace")})
    return find_mutations(dict(request.query_params))


def find_started_mutations(message: str | bytes) -> list[str]:
    """List the mutations in a message of a WebSocket, whichever of its operations it names."""
    return _find_in_json(message, lambda found: {"query": found["payload"]["query"]})


def find_mutations(data: Any) -> list[str]:
    """List the names of the mutations' fields in a GraphQL request, or in several in a list, without repetitions.

    Aliases are replaced by the fields' names, and fragments by what is in them. Whatever a directive may leave out is
    listed as well.
    """
    names: dict[str, None] = {}
    try:
        for entry in data if isinstance(data, list) else [data]:
            if isinstance(entry, dict) and isinstance(query := entry.get("query"), str):
                names.update(dict.fromkeys(_list_mutations(query, entry.get("operationName"))))
    except RecursionError:
        return [UNREADABLE]
    return [name for name in names if name not in UNRECORDED_MUTATIONS and not name.startswith("__")][:_MAX_NAMES]


def has_errors(answer: bytes) -> bool:
    """Whether Dagster's answer to a mutation says that it was not done, as far as the query has asked for that."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    data = found.get("data")
    results = [one for value in data.values() for one in _list_results(value)] if isinstance(data, dict) else []
    return bool(found.get("errors")) or any(_ERROR_TYPE.search(str(one.get("__typename"))) for one in results)


def _list_results(value: Any) -> Iterator[dict[str, Any]]:
    """The result of a field, and where it does several things at once, the result of each."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            if isinstance(inner, list):
                yield from (one for one in inner if isinstance(one, dict))


def _find_in_json(text: str | bytes, choose: Callable[[Any], Any]) -> list[str]:
    try:
        return find_mutations(choose(json.loads(text)))
    except RecursionError:
        return [UNREADABLE]
    except (ValueError, TypeError, LookupError):
        # Dagster does not execute it either.
        return []


def _list_mutations(query: str, operation_name: Any) -> Iterator[str]:
    # The keyword cannot be written in another way. Most requests only read, and need no parser.
    if "mutation" not in query:
        return
    # Imported here, because it takes half a second, and only the process with Dagster's UI needs it.
    import graphql

    try:
        document = graphql.parse(query, no_location=True)
    except graphql.GraphQLError as error:
        # Dagster uses the same parser, and refuses it. How deep it can read depends on who calls it.
        if "nested too deeply" in error.message:
            yield UNREADABLE
        return
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, graphql.FragmentDefinitionNode)}
    operations = [one for one in document.definitions if isinstance(one, graphql.OperationDefinitionNode)]
    named = [one for one in operations if one.name is not None and one.name.value == operation_name]
    mutations = [one for one in named or operations if one.operation is graphql.OperationType.MUTATION]
    left = deque(selection for one in mutations for selection in one.selection_set.selections)
    while left:
        selection = left.popleft()
        if isinstance(selection, graphql.FieldNode):
            yield selection.name.value
        elif isinstance(selection, graphql.InlineFragmentNode):
            left.extend(selection.selection_set.selections)
        elif isinstance(selection, graphql.FragmentSpreadNode):
            # Once each: fragments can name each other in a circle.
            fragment = fragments.pop(selection.name.value, None)
            left.extend(fragment.selection_set.selections if fragment else ())
