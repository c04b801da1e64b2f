"""What is refused before anything is sent, and how the text that is sent is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.transports.base import InvalidCommand
from dlpx_remote.transports.ssh.bootstrap import (
    EXEC,
    LONGEST_VARIABLE,
    Token,
    check_script,
    check_variables,
    framed,
    payload,
    quote,
    watcher,
)


def test_a_script_with_a_nul_byte_is_refused_with_its_line() -> None:
    with pytest.raises(InvalidCommand, match="NUL byte in line 3") as caught:
        check_script("echo a\necho b\necho \0\n")
    assert "base64" in caught.value.action


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (b"a\r\nb\r\n", b"a\nb\n"),
        (b"a\r\nb\r", b"a\nb"),
        (b"a\r\nb", b"a\nb"),
        (b"a\r\nb\n", b"a\r\nb\n"),
        (b"printf '\\r'\n", b"printf '\\r'\n"),
        (b"only\r", b"only\r"),
        (b"", b""),
    ],
)
def test_carriage_returns_go_only_where_every_line_has_one(script: bytes, expected: bytes) -> None:
    assert check_script(script) == expected


def test_text_is_sent_as_utf_8() -> None:
    assert check_script("echo é") == b"echo \xc3\xa9"


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A\0"])
def test_a_variable_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(InvalidCommand, match="no shell identifier"):
        check_variables({name: "x"}, linux=lambda: True)


@pytest.mark.parametrize("name", ["UID", "SHELLOPTS", "RANDOM", "_"])
def test_a_variable_that_bash_owns_is_refused(name: str) -> None:
    with pytest.raises(InvalidCommand, match=f"{name} is set by bash itself"):
        check_variables({name: "x"}, linux=lambda: True)


def test_a_nul_byte_in_a_variable_is_refused_without_showing_the_value() -> None:
    with pytest.raises(InvalidCommand, match="variable TOKEN holds a NUL byte") as caught:
        check_variables({"TOKEN": "hidden\0value"}, linux=lambda: True)
    assert "hidden" not in str(caught.value)


def test_a_value_that_linux_would_not_pass_on_is_refused_with_the_limit() -> None:
    longest = LONGEST_VARIABLE - len("A=") - 1
    assert check_variables({"A": b"x" * longest}, linux=lambda: True)
    with pytest.raises(InvalidCommand, match=f"at most {longest}") as caught:
        check_variables({"A": b"x" * (longest + 1)}, linux=lambda: True)
    assert "file" in caught.value.action


def test_other_systems_may_take_longer_values() -> None:
    assert check_variables({"A": b"x" * 1_000_000}, linux=lambda: False)


@given(st.binary().map(lambda data: data.replace(b"\0", b"")))
def test_quoting_gives_one_line_of_plain_bytes(value: bytes) -> None:
    quoted = quote(value)
    assert b"\n" not in quoted
    assert all(0x20 <= byte < 0x7F for byte in quoted)


def test_the_executed_string_is_plain_words_for_every_login_shell() -> None:
    assert EXEC.replace("-", "").replace(" ", "").isalpha()


@given(st.booleans())
def test_sent_text_never_holds_the_token_where_an_echo_of_it_would_be_a_report(login_shell: bool) -> None:
    token = Token.new()
    assert token.value.encode() not in watcher(token, login_shell=login_shell)
    text = framed(token, payload(token, b"true", {}), "C.UTF-8")
    assert token.value.encode() not in text


def test_tokens_differ() -> None:
    assert len({Token.new().value for _ in range(100)}) == 100
