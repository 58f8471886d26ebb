"""Routes of access: the audit log, the sessions, and the persons who may use the page."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from xero_pipeline.access import AccessControl, remove_access
from xero_pipeline.admin.access_models import (
    AddPersonRequest,
    AuditResponse,
    EndSessionsRequest,
    EndSessionsResponse,
    NewPersonResponse,
    PersonResponse,
    RemovePersonRequest,
    RemovePersonResponse,
    SessionResponse,
)
from xero_pipeline.admin.context import AdminContext, AdminContextDep, VisitorDep, describe_json_body, read_body
from xero_pipeline.admin.error_responses import document_errors
from xero_pipeline.admin.sessions import Visitor
from xero_pipeline.admin.sync import Limit
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.errors import DatabaseUnavailable

router = APIRouter(tags=["access"])


@router.get("/audit", responses=document_errors())
def audit(context: AdminContextDep, limit: Limit = 50) -> list[AuditResponse]:
    """Who did what, from where, when, and how it ended; newest first."""
    # On a full or read-only database the rows that are there can still be read.
    with suppress(DatabaseUnavailable, SQLAlchemyError):
        context.trail.store_guesses()
    rows = context.deployment.warehouse.audit.list_newest(limit)
    return [AuditResponse.model_validate(row.as_dict()) for row in rows]


@router.get("/sessions", responses=document_errors())
def sessions(context: AdminContextDep, visitor: VisitorDep) -> list[SessionResponse]:
    """The sessions that have neither been ended nor expired, the last used first. Without a sign-in there are none."""
    if context.sessions is None:
        return []
    access = AccessControl(context.settings, context.deployment.warehouse)
    own = visitor.identity.session
    return [
        SessionResponse(
            id=session.id,
            who=session.who,
            role=identity.role.value,
            origin=session.origin,
            began_at=session.began_at,
            last_seen_at=session.last_seen_at,
            ends_at=session.ends_at,
            is_current=own is not None and own.id == session.id,
        )
        for session in context.deployment.warehouse.sessions.list_open(context.clock.now())
        if (identity := access.resume(session)) is not None
    ]


@router.post(
    "/sessions/end",
    responses=document_errors(400, 404, 413),
    openapi_extra=describe_json_body(EndSessionsRequest),
)
async def end_sessions(request: Request, context: AdminContextDep, visitor: VisitorDep) -> EndSessionsResponse:
    """End one session, or all of them. The consents that they began end, too."""
    body = await read_body(request, EndSessionsRequest)
    return EndSessionsResponse(ended=await run_in_threadpool(_end_sessions, context, visitor, body.id))


def _end_sessions(context: AdminContext, visitor: Visitor, session_id: int | None) -> int:
    store = context.deployment.warehouse.sessions
    subject = "all" if session_id is None else f"session {session_id}"
    with context.trail.recording(visitor.actor, AuditAction.END_SESSION, subject) as recorded:
        if session_id is None:
            return store.end_all()
        recorded.subject += f" of {store.end(session_id).who}"
    return 1


@router.get("/access", responses=document_errors())
def persons(context: AdminContextDep) -> list[PersonResponse]:
    """Everybody who has a role, in the order of names. `ADMIN_TOKEN` is not in the list."""
    return [
        PersonResponse.model_validate(person.as_dict()) for person in context.deployment.warehouse.persons.list_all()
    ]


@router.post(
    "/access/add",
    responses=document_errors(400, 413),
    openapi_extra=describe_json_body(AddPersonRequest, required=True),
)
async def add_person(request: Request, context: AdminContextDep, visitor: VisitorDep) -> NewPersonResponse:
    """Give somebody a role, and make their access token. Nobody can read the token again."""
    body = await read_body(request, AddPersonRequest)
    return await run_in_threadpool(_add_person, context, visitor, body)


def _add_person(context: AdminContext, visitor: Visitor, body: AddPersonRequest) -> NewPersonResponse:
    with context.trail.recording(visitor.actor, AuditAction.ADD_ACCESS) as recorded:
        token = context.deployment.warehouse.persons.add(body.name, AccessRole(body.role), now=context.clock.now())
        recorded.subject = f"{body.name}, {body.role}"
    return NewPersonResponse(name=body.name, role=body.role, token=token or "")


@router.post(
    "/access/remove",
    responses=document_errors(400, 404, 413),
    openapi_extra=describe_json_body(RemovePersonRequest, required=True),
)
async def remove_person(request: Request, context: AdminContextDep, visitor: VisitorDep) -> RemovePersonResponse:
    """Take somebody's role. Their token, their sessions and the consents that they began end at once."""
    body = await read_body(request, RemovePersonRequest)
    await run_in_threadpool(_remove_person, context, visitor, body.name)
    return RemovePersonResponse()


def _remove_person(context: AdminContext, visitor: Visitor, name: str) -> None:
    with context.trail.recording(visitor.actor, AuditAction.REMOVE_ACCESS, name):
        remove_access(context.deployment.warehouse, name)
