"""Secrets from files: for each secret setting `NAME`, `NAME_FILE` names the file that holds its value.

systemd's LoadCredential, and Docker's and Kubernetes' secrets, give a secret as a file, so that it is in no
environment, which a process hands on to all that it starts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xero_pipeline.settings.base import SettingsError
from xero_pipeline.settings.strength import Insecurity, overrule, parse_allowed

SUFFIX = "_FILE"
_LARGEST = 65_536
_OTHERS = stat.S_IRWXO


def read_secret_files(
    values: Mapping[str, Any], secrets: Iterable[str], lists: Iterable[str], folder: Path
) -> dict[str, str]:
    """Read the file of each secret setting that has one.

    Args:
        values: what the environment, `.env` and the caller set, by name.
        secrets: the names of the secret settings.
        lists: those of them whose value is a comma-separated list; their file may have a line for each entry.
        folder: where relative paths start.

    Raises:
        SettingsError: one line for everything that is wrong. No part of a file is shown.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    may_be_shared = _is_overruled(values.get("ALLOW_INSECURE"))
    for name in secrets:
        path = values.get(f"{name}{SUFFIX}")
        if not path:
            continue
        if values.get(name):
            problems.append(f"{name} and {name}{SUFFIX} are both set: keep one of them")
            continue
        try:
            found[name] = _read(folder / Path(path).expanduser(), may_be_shared, is_list=name in set(lists))
        except (ValueError, RuntimeError) as error:
            problems.append(f"{name}{SUFFIX} {error}")
        except OSError as error:
            problems.append(f"{name}{SUFFIX} names {path}, which cannot be read: {error.strerror}")
    if problems:
        # `from None`: what cannot be read may be a part of a secret.
        raise SettingsError("; ".join(problems)) from None
    return found


def _is_overruled(allowed: object) -> bool:
    try:
        return Insecurity.WEAK_SECRETS in parse_allowed(str(allowed or ""))
    except ValueError:
        # The settings themselves refuse an unknown word.
        return False


def _read(file: Path, may_be_shared: bool, *, is_list: bool) -> str:
    with file.open("rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
            raise ValueError(f"names {file}, which is no file")
        if mode & _OTHERS and not may_be_shared:
            raise ValueError(
                f"names {file}, which every user of this machine may open: chmod 0400 it (Docker and Kubernetes: mode "
                f"0400 in the secret's entry), {overrule(Insecurity.WEAK_SECRETS)}"
            )
        content = opened.read(_LARGEST + 1)
    try:
        lines = content.decode().strip("\r\n").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"names {file}, which is no text in UTF-8") from None
    if len(content) > _LARGEST:
        raise ValueError(f"names {file}, which is too large for a secret")
    if not any(line.strip() for line in lines):
        raise ValueError(f"names {file}, which is empty")
    if len(lines) > 1 and not is_list:
        raise ValueError(f"names {file}, which has more than one line: a secret is one line")
    return ",".join(line for line in lines if line.strip())
