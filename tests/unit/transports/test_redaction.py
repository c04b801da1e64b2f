"""No secret leaves through what prints."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.redaction import MASK, RedactingFilter, Redactor
from dlpx_remote.transports.base import TransportError

_SECRETS = st.text(min_size=4, max_size=30).filter(
    lambda text: text.strip("-= ") and text.strip() and MASK not in text
)


@given(_SECRETS, st.text(max_size=50), st.text(max_size=50))
def test_a_registered_secret_is_masked_wherever_it_stands(secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    shown = redactor.redact(before + secret + after)
    assert MASK in shown
    if set(secret) - set(MASK):
        assert secret not in shown


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    redactor = Redactor()
    redactor.register("hunter")
    redactor.register("hunter2-and-more")
    assert redactor.redact("is hunter2-and-more") == f"is {MASK}"


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    redactor = Redactor()
    redactor.register("first line\nsecond line\n")
    assert redactor.redact("> second line") == f"> {MASK}"


def test_bytes_are_masked_like_text() -> None:
    redactor = Redactor()
    redactor.register(b"caf\xc3\xa9-secret")
    assert redactor.redact("café-secret") == MASK


def test_variables_are_masked_for_as_long_as_they_are_in_use() -> None:
    redactor = Redactor()
    with redactor.variables(["value-1234"]):
        with redactor.variables(["value-1234"]):
            assert redactor.redact("value-1234") == MASK
        assert redactor.redact("value-1234") == MASK
    assert redactor.redact("value-1234") == "value-1234"


def test_short_variables_are_left_alone() -> None:
    redactor = Redactor()
    with redactor.variables(["1", "yes"]):
        assert redactor.redact("1 yes") == "1 yes"


def test_log_records_lose_their_secrets_traceback_included(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor()
    redactor.register("hunter2-x")
    monkeypatch.setattr("dlpx_remote.redaction.REDACTOR", redactor)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("it is hunter2-x")
    except ValueError:
        logger.exception("password %s", "hunter2-x")
    assert "hunter2-x" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_transport_errors_mask_secrets_whoever_wrote_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor()
    redactor.register("hunter2-x")
    monkeypatch.setattr("dlpx_remote.redaction.REDACTOR", redactor)
    error = TransportError("said hunter2-x.", "Not hunter2-x.", "hunter2-x")
    assert "hunter2-x" not in str(error) + error.output + repr(error)
