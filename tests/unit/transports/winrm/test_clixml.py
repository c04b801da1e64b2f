"""CLIXML on stderr as text: every record and character, in pieces, nested, broken."""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.transports.winrm.clixml import ClixmlStream, decode, unescape

NAMESPACE = "http://schemas.microsoft.com/powershell/2004/04"
PROGRESS = (
    '<Obj S="progress" RefId="0"><TN RefId="0"><T>System.Management.Automation.PSCustomObject</T>'
    '<T>System.Object</T></TN><MS><I64 N="SourceId">1</I64><PR N="Record"><AV>Preparing modules for first '
    "use.</AV><AI>0</AI><Nil /><PI>-1</PI><PC>-1</PC><T>Completed</T><SR>-1</SR><SD> </SD></PR></MS></Obj>"
)


def document(*records: str) -> bytes:
    return f'<Objs Version="1.1.0.1" xmlns="{NAMESPACE}">{"".join(records)}</Objs>'.encode()


def clixml(*records: str) -> bytes:
    return b"#< CLIXML\r\n" + document(*records)


def as_powershell_writes(text: str) -> str:
    """As PowerShell serializes it: what XML cannot hold, and what looks like an escape, is escaped."""
    units = text.encode("utf-16-le", "surrogatepass")
    written = []
    for start in range(0, len(units), 2):
        number = int.from_bytes(units[start : start + 2], "little")
        character = chr(number)
        if number < 0x20 or 0x7F <= number <= 0x9F or 0xD800 <= number <= 0xDFFF or number >= 0xFFFE:
            written.append(f"_x{number:04X}_")
        elif character == "_":
            written.append("_x005F_")
        else:
            written.append(escape(character))
    return "".join(written)


def error(text: str) -> str:
    return f'<S S="Error">{as_powershell_writes(text)}</S>'


def test_errors_are_kept_and_progress_is_dropped() -> None:
    data = clixml(PROGRESS, error("Get-Item : no such thing\r\n"), error("    + FullyQualifiedErrorId\r\n"))
    assert decode(data) == b"Get-Item : no such thing\r\n    + FullyQualifiedErrorId\r\n"


def test_progress_alone_leaves_nothing() -> None:
    assert decode(clixml(PROGRESS)) == b""


def test_warnings_keep_the_prefix_that_powershell_shows_them_with() -> None:
    data = clixml('<S S="warning">it is old</S>', '<S S="verbose">details</S>', '<S S="debug">more</S>')
    assert decode(data) == b"WARNING: it is old\r\nVERBOSE: details\r\nDEBUG: more\r\n"


def test_an_error_that_is_an_object_says_what_it_calls_itself() -> None:
    record = (
        '<Obj S="Error" RefId="0"><TN RefId="0"><T>System.Management.Automation.ErrorRecord</T></TN>'
        '<ToString>the disk is full</ToString><Props><S N="Other">else</S></Props></Obj>'
    )
    assert decode(clixml(record)) == b"the disk is full\r\n"


@pytest.mark.parametrize(
    "data",
    [
        clixml(error("one\r\n")) + document(error("two\r\n")),
        clixml(error("one\r\n")) + b"\r\n" + clixml(error("two\r\n")),
        clixml(error("one\r\n")) + clixml(PROGRESS) + clixml(error("two\r\n")),
    ],
)
def test_several_documents_follow_each_other(data: bytes) -> None:
    assert decode(data) == b"one\r\ntwo\r\n"


def test_what_programs_write_between_stays_where_it_was() -> None:
    data = b"before\r\n" + clixml(error("one\r\n")) + b"program: \xff\x00 raw\r\n" + clixml(error("two\r\n"))
    assert decode(data) == b"before\r\none\r\nprogram: \xff\x00 raw\r\ntwo\r\n"


def test_clixml_in_clixml_is_read_too() -> None:
    inner = clixml(PROGRESS, error("from the inner one\r\n")).decode()
    assert decode(clixml(error(inner))) == b"from the inner one\r\n"
    deepest = inner
    for _ in range(3):
        deepest = clixml(error(deepest)).decode()
    assert decode(deepest.encode()) == b"from the inner one\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text\r\n",
        b"#< CLIXML\r\n",
        b"#< CLIXML\r\nnothing of it",
        b'#< CLIXML\r\n<Objs Version="1.1.0.1"><S S="Error">cut off',
        b'#< CLIXML\r\n<Objs><S S="Error">not closed</Objs>',
        b'#< CLIXML\r\n<!DOCTYPE x [<!ENTITY a "b">]><Objs><S S="Error">&a;</S></Objs>',
        b'#< CLIXML\r\n<Objs><!-- no --><S S="Error">x</S></Objs>',
        b'<Objs><S S="Error">without the marker</S></Objs>',
    ],
)
def test_what_is_no_clixml_stays_as_it_came(data: bytes) -> None:
    assert decode(data) == data


def test_escapes_are_read_from_the_left() -> None:
    assert unescape("a_x000D__x000A_b") == "a\r\nb"
    assert unescape("_x005F_x000D_") == "_x000D_"
    assert unescape("_xD83D__xDE00_") == "\U0001f600"
    assert unescape("_xD83D_ alone") == "\ufffd alone"
    assert unescape("_xZZZZ_ _x12_") == "_xZZZZ_ _x12_"


@given(st.text())
def test_every_text_survives(text: str) -> None:
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    assert decode(clixml(error(text))) == expected


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.builds(lambda text: clixml(error(text)), st.text(max_size=10)),
            st.sampled_from([b"#< CLI", b"#< CLIXML\r\n", b"<Objs", b"</Objs>", clixml(PROGRESS)]),
        ),
        max_size=6,
    ),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_pieces_of_any_length_read_like_the_whole(parts: list[bytes], lengths: list[int]) -> None:
    data = b"".join(parts)
    stream, text, rest = ClixmlStream(), b"", data
    for length in lengths:
        text += stream.feed(rest[:length])
        rest = rest[length:]
    assert text + stream.feed(rest) + stream.rest() == decode(data)


def test_text_is_not_kept_back_without_need() -> None:
    stream = ClixmlStream()
    assert stream.feed(b"progress of a program\r\n") == b"progress of a program\r\n"
    assert stream.feed(clixml(error("an error\r\n"))) == b"an error\r\n"
    assert stream.feed(b"and #") == b"and "
    assert stream.rest() == b"#"
