"""Telling reports from output, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.transports.ssh.streams import MarkedStream, Report

TOKEN = "f0123456789abcde0123456789abcde0"
"""Its first letter comes once: a piece of it right before it makes no second one at another place."""
_WORD = TOKEN.encode()


def _read(data: bytes, cuts: list[int]) -> tuple[bytes, list[Report], list[bytes]]:
    stream = MarkedStream(TOKEN)
    output, reports, between = b"", [], [b""]
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        for piece in stream.feed(data[start:end]):
            if isinstance(piece, Report):
                reports.append(piece)
                between.append(b"")
            else:
                output += piece
                between[-1] += piece
    rest = stream.rest()
    between[-1] += rest
    return output + rest, reports, between


# Bytes that look like beginnings of the token are the interesting ones.
_NOISE = st.lists(
    st.one_of(st.binary(max_size=20), st.integers(1, 31).map(lambda n: _WORD[:n]), st.just(b"\n:")),
    max_size=8,
).map(b"".join)


@given(_NOISE, _NOISE, _NOISE, st.lists(st.integers(0, 400), max_size=12))
def test_reports_and_output_survive_any_cutting(
    before: bytes, output: bytes, after: bytes, cuts: list[int]
) -> None:
    data = before + _WORD + b":S:12\n" + output + _WORD + b":E:0\n" + after
    if data.count(_WORD) != 2 or data.find(_WORD) != len(before):
        return  # noise and token made a token by chance, at another place
    _, reports, between = _read(data, cuts)
    assert reports == [Report("S", "12"), Report("E", "0")]
    assert between == [before, output, after]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=12))
def test_output_without_reports_is_unchanged(data: bytes, cuts: list[int]) -> None:
    output, reports, _ = _read(data, cuts)
    assert output == data
    assert reports == []


def test_a_value_may_hold_colons() -> None:
    assert list(MarkedStream(TOKEN).feed(_WORD + b":H:/a:b\n")) == [Report("H", "/a:b")]


def test_a_token_before_something_else_than_a_report_is_output() -> None:
    data = _WORD + b":S:not a number\n" + _WORD + b"\n"
    assert b"".join(piece for piece in MarkedStream(TOKEN).feed(data) if isinstance(piece, bytes)) == data


def test_a_token_without_an_end_of_line_is_output_in_the_end() -> None:
    stream = MarkedStream(TOKEN)
    data = _WORD + b"x" * 10_000
    taken = b"".join(piece for piece in stream.feed(data) if isinstance(piece, bytes))
    assert taken + stream.rest() == data


def test_output_passes_on_at_once_unless_it_may_begin_a_report() -> None:
    stream = MarkedStream(TOKEN)
    assert list(stream.feed(b"hello " + _WORD[:5])) == [b"hello "]
    assert list(stream.feed(b"!")) == [_WORD[:5] + b"!"]
