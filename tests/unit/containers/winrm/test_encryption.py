"""The form of encrypted messages, whatever their content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers.winrm.responder.encryption import NotEncrypted, is_encrypted, seal, unseal

BOUNDARY = b"--Encrypted Boundary--\r\n"


class Plain:
    """A context that seals nothing: what is tested is the form around it."""

    def wrap_winrm(self, data: bytes) -> tuple[bytes, bytes, int]:
        return b"signature", data, 0

    def unwrap_winrm(self, header: bytes, data: bytes) -> bytes:
        assert header == b"signature"
        return data


@given(
    st.lists(
        st.binary(max_size=50) | st.sampled_from([BOUNDARY, BOUNDARY[:-4] + b"\r\n", b"\r\n", b"\t"])
    ).map(b"".join)
)
def test_a_message_of_any_content_is_read_as_it_was_written(content: bytes) -> None:
    assert unseal(seal(content, Plain()), Plain()) == content


def test_the_form_is_that_of_the_specification() -> None:
    assert seal(b"<x/>", Plain()) == (
        b"--Encrypted Boundary\r\n"
        b"\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n"
        b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=4\r\n"
        b"--Encrypted Boundary\r\n"
        b"\tContent-Type: application/octet-stream\r\n"
        b"\x09\x00\x00\x00signature<x/>"
        b"--Encrypted Boundary--\r\n"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not a multipart/encrypted message"),
        (b"<s:Envelope/>", "not a multipart/encrypted message"),
        (seal(b"abc", Plain())[:-26], "not a multipart/encrypted message"),
        (seal(b"abc", Plain()).replace(b"Length=3", b"Length=4"), "has 3 bytes, not 4"),
        (seal(b"abc", Plain()).replace(b"\x09\x00\x00\x00signature", b""), "part is empty"),
        (seal(b"abc", Plain()).replace(b"\x09\x00", b"\xff\x00"), "signature is longer"),
    ],
)
def test_other_forms_are_refused(body: bytes, words: str) -> None:
    with pytest.raises(NotEncrypted, match=words):
        unseal(body, Plain())


def test_encrypted_messages_are_known_by_their_type() -> None:
    assert is_encrypted('multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted"')
    assert not is_encrypted("application/soap+xml;charset=UTF-8")
