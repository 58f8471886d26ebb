"""AES-256-GCM encryption of secrets. The callers decide which values are secret.

The stored form is `iv:authTag:ciphertext` in hex, with a fresh random 16-byte IV each time. Additional
authenticated data binds a value to its row and column: a copy elsewhere does not decrypt. Node's
`crypto.createDecipheriv("aes-256-gcm", key, iv)` decrypts the value with the same data.
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
_STORED_FORMAT = re.compile(r"([0-9a-f]{32}):([0-9a-f]{32}):((?:[0-9a-f]{2})*)")


def associated_data(tenant_id: str, column: str) -> str:
    """The additional authenticated data of a value, from its organisation and its column."""
    return f"{tenant_id}:{column}"


class Cipher:
    """Encrypts with the first key and decrypts with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """
        Args:
            keys: the current key, then the retired ones, each of 32 bytes.
        """
        if not keys or any(len(key) != 32 for key in keys):
            raise ValueError("a cipher needs at least one key, each of 32 bytes")
        self._keys = [AESGCM(key) for key in keys]

    def encrypt(self, text: str, aad: str) -> str:
        """Encrypt with the current key. Returns `iv:authTag:ciphertext` in hex."""
        iv = os.urandom(_IV_BYTES)
        sealed = self._keys[0].encrypt(iv, text.encode(), aad.encode())
        return f"{iv.hex()}:{sealed[-_TAG_BYTES:].hex()}:{sealed[:-_TAG_BYTES].hex()}"

    def decrypt(self, value: str, aad: str) -> str:
        """Decrypt a value.

        Raises:
            NotDecryptable: it is malformed, cut short, changed, bound to other data, or under an unknown key.
        """
        return self._decrypt(value, aad)[1]

    def needs_rotation(self, value: str, aad: str) -> bool:
        """Whether a value is encrypted with a retired key.

        Raises:
            NotDecryptable: as for `decrypt`.
        """
        return self._decrypt(value, aad)[0] != 0

    def _decrypt(self, value: str, aad: str) -> tuple[int, str]:
        """The index of the key that decrypts the value, and the text."""
        match = _STORED_FORMAT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise NotDecryptable("A stored secret is malformed or cut short.")
        iv, tag, ciphertext = (bytes.fromhex(part) for part in match.groups())
        for number, key in enumerate(self._keys):
            try:
                return number, key.decrypt(iv, ciphertext + tag, aad.encode()).decode()
            except (InvalidTag, UnicodeDecodeError):
                continue
        raise NotDecryptable("None of the encryption keys decrypts a stored secret, or it was copied from elsewhere.")

    def __repr__(self) -> str:
        return f"Cipher(keys={len(self._keys)})"
