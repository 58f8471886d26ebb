"""AES-256-GCM for the few values that must never lie open. Which values those are is others' matter.

Written `iv:authTag:ciphertext` in hex, with a fresh random 16-byte IV each time, and bound to its place by
additional authenticated data: a value copied to another row or column does not decrypt. Node's
`crypto.createDecipheriv("aes-256-gcm", key, iv)` reads it, given the same data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from xero_pipeline.warehouse.errors import NotDecryptable

_IV_BYTES = 16
_TAG_BYTES = 16
_WRITTEN = re.compile(r"([0-9a-f]{32}):([0-9a-f]{32}):((?:[0-9a-f]{2})*)")


def associated_data(tenant_id: str, column: str) -> str:
    """The additional authenticated data of a value in that organisation's row and that column."""
    return f"{tenant_id}:{column}"


class Cipher:
    """Encrypts with the first key, decrypts with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """
        Args:
            keys: 32 bytes each: the current one first, then the retired ones.
        """
        if not keys or any(len(key) != 32 for key in keys):
            raise ValueError("a cipher needs at least one key, each of 32 bytes")
        self._keys = [AESGCM(key) for key in keys]

    def encrypt(self, text: str, aad: str) -> str:
        """`iv:authTag:ciphertext` in hex, under the current key."""
        iv = os.urandom(_IV_BYTES)
        sealed = self._keys[0].encrypt(iv, text.encode(), aad.encode())
        return f"{iv.hex()}:{sealed[-_TAG_BYTES:].hex()}:{sealed[:-_TAG_BYTES].hex()}"

    def decrypt(self, value: str, aad: str) -> str:
        """The text.

        Raises:
            NotDecryptable: malformed, cut short, changed, from another place, or under an unknown key.
        """
        return self._open(value, aad)[1]

    def needs_rotation(self, value: str, aad: str) -> bool:
        """Whether it is under a retired key.

        Raises:
            NotDecryptable: as for `decrypt`.
        """
        return self._open(value, aad)[0] != 0

    def _open(self, value: str, aad: str) -> tuple[int, str]:
        """Which key opens it, and the text."""
        written = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
        if written is None:
            raise NotDecryptable("A stored secret is malformed or cut short.")
        iv, tag, sealed = (bytes.fromhex(part) for part in written.groups())
        for number, key in enumerate(self._keys):
            try:
                return number, key.decrypt(iv, sealed + tag, aad.encode()).decode()
            except (InvalidTag, UnicodeDecodeError):
                continue
        raise NotDecryptable("A stored secret does not open with the keys at hand, or was moved here from elsewhere.")

    def __repr__(self) -> str:
        return f"Cipher(keys={len(self._keys)})"
