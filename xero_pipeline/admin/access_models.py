"""The request and response models of the HTTP API about persons, sessions and the audit log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from xero_pipeline.admin.api_models import ApiModel, ApiRequest
from xero_pipeline.warehouse.access.roles import AccessRole


class AuditResponse(ApiModel):
    """One row of the audit log: something that somebody did, or a failure that was counted."""

    id: int
    at: AwareDatetime
    who: str = Field(description="A person, `admin` (ADMIN_TOKEN), `local` (a page without a sign-in), or a user.")
    role: str
    origin: str = Field(description="The address that it came from, or `cli`.")
    action: str
    subject: str
    outcome: str = Field(description="`success`, or why not.")
    count: int = Field(description="How often it happened between `at` and `lastAt`; more than 1 for failures only.")
    last_at: AwareDatetime


class SessionResponse(ApiModel):
    id: int
    who: str
    role: AccessRole
    origin: str
    began_at: AwareDatetime
    last_seen_at: AwareDatetime
    ends_at: AwareDatetime = Field(description="When it ends if it is not used again.")
    is_current: bool = Field(description="Whether this request uses it.")


class EndSessionsRequest(ApiRequest):
    id: Annotated[int, Field(ge=1, le=2**53, strict=True)] | SkipJsonSchema[None] = Field(
        None, description="Only this session; leave it out for all of them, your own included."
    )

    @field_validator("id", mode="before")
    @classmethod
    def _reject_null(cls, value: object) -> object:
        # A null is probably a mistake, so it must not end everything.
        if value is None:
            raise ValueError("must be a number; leave it out to end all sessions")
        return value


class EndSessionsResponse(ApiModel):
    ended: int = Field(description="How many sessions have ended.")


class PersonResponse(ApiModel):
    name: str
    role: AccessRole
    has_token: bool = Field(description="false for somebody who only signs in at the proxy.")
    created_at: AwareDatetime


class AddPersonRequest(ApiRequest):
    name: str = Field(min_length=1, max_length=64)
    role: AccessRole


class NewPersonResponse(ApiModel):
    name: str
    role: AccessRole
    token: str = Field(description="The access token. It is shown this once and stored only as a hash.")


class RemovePersonRequest(ApiRequest):
    name: str = Field(min_length=1, max_length=64)


class RemovePersonResponse(ApiModel):
    success: Literal[True] = True
