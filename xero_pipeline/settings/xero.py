"""Settings about Xero: the app, its tokens' key, Xero's addresses, which figures are read, how many calls are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from xero_pipeline.settings.base import SettingsGroup, is_loopback_host, require_url, setting
from xero_pipeline.settings.strength import Insecurity, describe_weak_key, overrule

# The least scopes that are enough for everything here, all read-only (Xero's granular scopes, since March 2026).
GRANULAR_SCOPES = (
    "offline_access accounting.settings.read accounting.invoices.read "
    "accounting.reports.profitandloss.read accounting.reports.banksummary.read"
)


class Grant(StrEnum):
    AUTHORIZATION_CODE = "authorization_code"
    CLIENT_CREDENTIALS = "client_credentials"


class Basis(StrEnum):
    ACCRUAL = "accrual"
    CASH = "cash"


class XeroSettings(SettingsGroup):
    """The Xero app, its grant, Xero's addresses, the basis of the figures, the call limits."""

    mock_mode: bool = setting("XERO_MOCK_MODE", False)
    client_id: str | None = setting("XERO_CLIENT_ID", None, validate_default=True)
    client_secret: SecretStr | None = setting("XERO_CLIENT_SECRET", None, validate_default=True)
    encryption_key: SecretStr = setting("XERO_ENCRYPTION_KEY")
    encryption_keys_retired: Annotated[tuple[SecretStr, ...], NoDecode] = setting("XERO_ENCRYPTION_KEYS_RETIRED", ())
    grant: Grant = setting("XERO_GRANT", Grant.AUTHORIZATION_CODE)
    scopes: str = setting("XERO_SCOPES", GRANULAR_SCOPES)
    api_url: str = setting("XERO_API_URL", "https://api.xero.com")
    identity_url: str = setting("XERO_IDENTITY_URL", "https://identity.xero.com")
    login_url: str = setting("XERO_LOGIN_URL", "https://login.xero.com")
    basis: Basis = setting("XERO_BASIS", Basis.ACCRUAL)
    calls_per_minute: int = setting("XERO_CALLS_PER_MINUTE", 55, ge=1)
    calls_per_day: int = setting("XERO_CALLS_PER_DAY", 4800, ge=1)
    concurrent_calls: int = setting("XERO_CONCURRENT_CALLS", 5, ge=1)
    app_calls_per_minute: int = setting("XERO_APP_CALLS_PER_MINUTE", 9500, ge=1)
    revenue_tracking: str = setting("XERO_REVENUE_TRACKING", "Revenue Type", min_length=1)
    region_tracking: str = setting("XERO_REGION_TRACKING", "Region", min_length=1)

    MEND: ClassVar[Mapping[str, str]] = {
        "XERO_MOCK_MODE": "must be true or false",
        "XERO_ENCRYPTION_KEY": "is missing: 32 bytes as 64 hex characters; make one with `openssl rand -hex 32`",
        "XERO_GRANT": "must be authorization_code or client_credentials",
        "XERO_BASIS": "must be accrual or cash",
        "XERO_REVENUE_TRACKING": "must be the name of a tracking category",
        "XERO_REGION_TRACKING": "must be the name of a tracking category",
    }

    # Each field has a validator of its own, so that everything that is missing or malformed is named at once.
    @field_validator("client_id", "client_secret")
    @classmethod
    def _real_xero_needs_an_app(cls, value: Any, info: ValidationInfo) -> Any:
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        # A malformed XERO_MOCK_MODE is missing from `info.data`. Then only that setting is named.
        if not given and not info.data.get("mock_mode", True):
            else_mock = ", or set XERO_MOCK_MODE=true to try without Xero" if info.field_name == "client_id" else ""
            raise ValueError(f"is missing: take it from your app at developer.xero.com{else_mock}")
        return value

    @field_validator("encryption_keys_retired", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("encryption_key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        require_key(value, "it")
        return value

    @field_validator("encryption_keys_retired")
    @classmethod
    def _are_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, key in enumerate(value, start=1):
            require_key(key, f"key number {number}")
        return value

    @field_validator("api_url", "identity_url", "login_url")
    @classmethod
    def _is_encrypted_url(cls, value: str) -> str:
        parts = urlsplit(url := require_url(value))
        # Tokens travel to these addresses.
        if parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
            raise ValueError("must be https: plain http is allowed only on loopback (localhost, 127.0.0.1)")
        return url

    @field_validator("scopes")
    @classmethod
    def _has_scopes(cls, value: str) -> str:
        if not value.split():
            raise ValueError("must name at least one scope, separated by blanks")
        return " ".join(value.split())

    @property
    def keys(self) -> list[bytes]:
        """The encryption key, then the retired ones that still decrypt: 32 bytes each."""
        return [bytes.fromhex(key.get_secret_value()) for key in (self.encryption_key, *self.encryption_keys_retired)]

    def find_weak_key(self) -> Iterator[tuple[Insecurity, str]]:
        """Describe an encryption key that somebody can guess. A retired one may be weak: that is how it retires."""
        if problem := describe_weak_key(self.encryption_key.get_secret_value()):
            yield (
                Insecurity.WEAK_SECRETS,
                f"XERO_ENCRYPTION_KEY {problem}, so it can be guessed: make a new one with `openssl rand -hex 32`, put "
                "the old one into XERO_ENCRYPTION_KEYS_RETIRED and run `xero-pipeline rotate-key`, "
                f"{overrule(Insecurity.WEAK_SECRETS)}",
            )

    @property
    def data_source(self) -> str:
        """The `data_source` of every row, so that nobody takes mock figures for real ones."""
        return "xero_mock" if self.mock_mode else "xero_api"


def require_key(value: SecretStr, which: str) -> None:
    text = value.get_secret_value()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32 or len(text) != 64:
        raise ValueError(
            f"is malformed: {which} must be 32 bytes as 64 hex characters; make one with `openssl rand -hex 32`"
        )
