"""Encrypted values decrypt only unchanged, in their own row and column, and with a known key."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import traceback

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from xero_pipeline.warehouse.connections.cipher import Cipher, associated_data
from xero_pipeline.warehouse.errors import NotDecryptable
from xero_pipeline_tests.conftest import skip_or_fail
from xero_pipeline_tests.warehouse.figures.figures_given import KEY, OLD_KEY

AAD = associated_data("org-1", "access_token")
texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts, texts)
def test_an_encrypted_value_decrypts_with_the_same_associated_data(text: str, aad: str) -> None:
    cipher = Cipher([KEY])
    assert cipher.decrypt(cipher.encrypt(text, aad), aad) == text


@given(texts, texts, texts)
def test_a_value_copied_to_another_row_or_column_does_not_decrypt(text: str, aad: str, elsewhere: str) -> None:
    assume(aad != elsewhere)
    cipher = Cipher([KEY])
    value = cipher.encrypt(text, aad)
    with pytest.raises(NotDecryptable):
        cipher.decrypt(value, elsewhere)


@given(texts, st.data())
def test_a_value_with_any_character_changed_or_missing_does_not_decrypt(text: str, data: st.DataObject) -> None:
    cipher = Cipher([KEY])
    value = cipher.encrypt(text, AAD)
    at = data.draw(st.integers(0, len(value) - 1))
    put = data.draw(st.sampled_from(["", *"0123456789abcdef: \nG"]))
    changed = value[:at] + put + value[at + 1 :]
    assume(changed != value)
    with pytest.raises(NotDecryptable):
        cipher.decrypt(changed, AAD)


@given(st.text())
def test_anything_else_is_refused_as_not_decryptable(value: str) -> None:
    with pytest.raises(NotDecryptable):
        Cipher([KEY]).decrypt(value, AAD)


def test_the_stored_form_is_iv_tag_and_ciphertext_in_hex_with_a_fresh_iv_each_time() -> None:
    cipher = Cipher([KEY])
    first, second = cipher.encrypt("secret", AAD), cipher.encrypt("secret", AAD)
    assert re.fullmatch(r"[0-9a-f]{32}:[0-9a-f]{32}:[0-9a-f]{12}", first)
    assert first.split(":")[0] != second.split(":")[0]


def test_retired_keys_still_decrypt_and_the_first_one_encrypts() -> None:
    old = Cipher([OLD_KEY]).encrypt("secret", AAD)
    both = Cipher([KEY, OLD_KEY])
    assert both.decrypt(old, AAD) == "secret"
    assert both.needs_rotation(old, AAD)
    new = both.encrypt("secret", AAD)
    assert not both.needs_rotation(new, AAD)
    assert Cipher([KEY]).decrypt(new, AAD) == "secret"


def test_an_unknown_key_is_refused() -> None:
    value = Cipher([OLD_KEY]).encrypt("secret", AAD)
    with pytest.raises(NotDecryptable):
        Cipher([KEY]).decrypt(value, AAD)
    with pytest.raises(NotDecryptable):
        Cipher([KEY]).needs_rotation(value, AAD)


def test_no_error_and_no_repr_shows_key_text_or_value() -> None:
    cipher = Cipher([KEY])
    value = cipher.encrypt("a secret text", AAD)
    with pytest.raises(NotDecryptable) as caught:
        cipher.decrypt(value, associated_data("org-2", "access_token"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    shown = "".join(traceback.format_exception(caught.value)) + repr(cipher)
    for hidden in ("a secret text", value, KEY.hex(), repr(KEY)):
        assert hidden not in shown


@pytest.mark.parametrize("keys", [[], [b"short"], [KEY, b"x" * 33]])
def test_a_key_of_another_length_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Cipher(keys)


NODE = """
const [key, aad, value] = process.argv.slice(1);
const [iv, tag, text] = value.split(":").map((part) => Buffer.from(part, "hex"));
const opened = require("crypto").createDecipheriv("aes-256-gcm", Buffer.from(key, "hex"), iv);
opened.setAAD(Buffer.from(aad, "utf8"));
opened.setAuthTag(tag);
process.stdout.write(Buffer.concat([opened.update(text), opened.final()]));
"""


def test_node_decrypts_an_encrypted_value() -> None:
    node = shutil.which("node")
    if node is None:
        skip_or_fail("no node on this machine")
    key, aad, text = os.urandom(32), associated_data("mandant-ä", "refresh_token"), "ein Geheimnis: ☂ " + "x" * 1000
    value = Cipher([key]).encrypt(text, aad)
    answer = subprocess.run([str(node), "-e", NODE, "--", key.hex(), aad, value], capture_output=True, check=True)
    assert answer.stdout.decode() == text
