"""The settings of a process, read from the environment and `.env` and checked once, when it starts.

No other module reads the environment. A malformed setting raises `SettingsError`, whose text names the setting, says
how to mend it, and never repeats a secret's value. A deployment is one folder, `DAGSTER_HOME` (by default the current
one): relative paths start there, whichever folder a process was started in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from dotenv import dotenv_values
from pydantic import AliasChoices, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from xero_pipeline.settings.base import SettingsError
from xero_pipeline.settings.people import PeopleSettings
from xero_pipeline.settings.schedule import ScheduleSettings
from xero_pipeline.settings.secret_files import SUFFIX, read_secret_files
from xero_pipeline.settings.storage import StorageSettings
from xero_pipeline.settings.xero import XeroSettings


class Settings(PeopleSettings, ScheduleSettings, StorageSettings, XeroSettings):
    """Every setting of `.env.example`, one field each."""

    MEND: ClassVar[Mapping[str, str]] = {**XeroSettings.MEND, **StorageSettings.MEND, **ScheduleSettings.MEND}

    def list_weaknesses(self) -> list[str]:
        """What is too weak to start with, and is not overruled by `ALLOW_INSECURE`: a line each."""
        return [
            text
            for insecurity, text in (*self.find_weak_key(), *self.find_weak_people(), *self.find_weak_database())
            if insecurity not in self.allow_insecure
        ]


def _environment_file() -> Path | None:
    """The `.env` file of `DAGSTER_HOME`, or else of the current folder."""
    home = os.environ.get("DAGSTER_HOME")
    for folder in (*([Path(home)] if home else []), Path()):
        if (folder / ".env").is_file():
            return folder / ".env"
    return None


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings.

    Args:
        overrides: values by the setting's own name (`XERO_BASIS="cash"`), which win over the environment.

    Raises:
        SettingsError: one line that names every setting that is missing or malformed.
    """
    file = _environment_file()
    try:
        _require_known_variables(file)
        settings = Settings(_env_file=file, **overrides, **_read_secrets(file, overrides))
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        # A command that was started in another folder misses settings that the deployment has.
        hint = "" if file else f" (no .env in {Path.cwd()}: DAGSTER_HOME names the folder that has one)"
        raise SettingsError(f"{problems}{hint}") from None
    except (OSError, UnicodeError):
        # `from None`: what cannot be read may be a part of a secret.
        raise SettingsError(f"{file} cannot be read: it must be a text in UTF-8 that this user may read") from None
    if weaknesses := settings.list_weaknesses():
        raise SettingsError("; ".join(weaknesses))
    return settings


def _read_secrets(file: Path | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The secrets whose values are in files of their own, by setting. Relative paths start where `.env` is."""
    values = {**(dotenv_values(file) if file else {}), **os.environ, **overrides}
    folder = file.parent if file else Path(os.environ.get("DAGSTER_HOME") or "")
    return dict(read_secret_files(values, list_secret_settings(), _list_secrets(many=True), folder))


def list_secret_settings() -> list[str]:
    """The names of the settings that are secrets. Each may also be given as the file `NAME_FILE` names."""
    return [*_list_secrets(many=False), *_list_secrets(many=True)]


def _list_secrets(*, many: bool) -> list[str]:
    return [
        _names(field)[0]
        for field in Settings.model_fields.values()
        if SecretStr.__name__ in str(field.annotation) and ("tuple" in str(field.annotation)) is many
    ]


# ${NAME} in a value of `.env` stands for that variable; ${NAME:-otherwise} has a default.
_VARIABLE = re.compile(r"\$\{([^}:]*)\}")


def _require_known_variables(file: Path | None) -> None:
    """Refuse a value with a `${…}` that names no variable, as in a password: python-dotenv would drop it."""
    values = {} if file is None else dotenv_values(file, interpolate=False)
    for name, value in values.items():
        for variable in _VARIABLE.findall(value or ""):
            if variable not in values and variable not in os.environ:
                raise SettingsError(
                    f"{name} in {file} holds a ${{…}} that names no variable: set {name} in the environment, where it "
                    "is taken as it is, or in an address write $ as %24"
                )


def export_dotenv_variables() -> None:
    """Export the variables of `.env` that are not settings, to this process and those that it starts.

    dagster.yaml names such variables, and Dagster reads them from the environment. A variable that is set already
    keeps its value.
    """
    file = _environment_file()
    setting_names = {choice for field in Settings.model_fields.values() for choice in _names(field)}
    setting_names.update(f"{name}{SUFFIX}" for name in list_secret_settings())
    for name, value in (dotenv_values(file) if file else {}).items():
        if value and name not in setting_names:
            os.environ.setdefault(name, value)


def _names(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []


def _describe(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if name in Settings.model_fields:
        # Pydantic names a refused default by its field, not by its setting.
        name = next(iter(_names(Settings.model_fields[name])), name)
    if problem["type"] == "value_error":
        return f"{name} {problem['ctx']['error']}".strip()
    mend = Settings.MEND.get(name) or f"must be a positive whole number ({problem['msg'].lower()})"
    return f"{name} {mend}"


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a process that this one starts.

    It is this process's own, with the deployment's folder in it. Where `.env` is in another folder, which the new
    process does not search, it has the variables of that file too.
    """
    file = _environment_file()
    is_elsewhere = file is not None and file.parent.resolve() != settings.home_folder
    added = {name: value for name, value in dotenv_values(file).items() if value} if file and is_elsewhere else {}
    for name in (f"{secret}{SUFFIX}" for secret in list_secret_settings()):
        if file and name in added:
            # A relative path starts where that file is, which the new process does not know.
            added[name] = str(file.parent.absolute() / Path(added[name]).expanduser())
    return {**added, **os.environ, "DAGSTER_HOME": str(settings.home_folder)}
