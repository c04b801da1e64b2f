"""The command line that never changes, and the frame over stdin.

No PowerShell runs here: what the program must and must not do is pinned word by word instead.
"""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.transports.base import InvalidCommand
from dlpx_remote.transports.winrm import bootstrap

identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def test_the_program_is_the_one_that_was_reviewed() -> None:
    """Whoever changes it reads it again, line by line, and then this digest."""
    digest = hashlib.sha256(bootstrap.PROGRAM.encode()).hexdigest()
    assert digest == "9a8a54ba92d3fe46a6de8c9e04d0940c0fcc04762c1ebe1f01c621b24155cbd0"


def test_the_program_for_many_scripts_is_the_one_that_was_reviewed() -> None:
    digest = hashlib.sha256(bootstrap.RESIDENT.encode()).hexdigest()
    assert digest == "c8a4062e55d87af68541dbf364fcaf15d105b9489e0c0e3b1d1e402895769432"
    assert len(bootstrap.RESIDENT_LINE) < bootstrap.LONGEST_COMMAND_LINE // 2
    assert bootstrap.RESIDENT_LINE.startswith("powershell.exe -OutputFormat Text -NoLogo ")
    lines = bootstrap.RESIDENT.splitlines()
    # The token, the script in a scope of its own, everything put back, the end.
    order = [
        '[Console]::Out.Write($DLPX_K+"`n")',
        "&$x|Out-Default",
        "Set-Location -LiteralPath $env:USERPROFILE",
    ]
    assert [line for line in lines if line in order] == order
    assert lines[-3:-1] == [
        f"[Console]::{stream}.Write($DLPX_K+':'+$DLPX_EXIT+\"`n\")" for stream in ("Error", "Out")
    ]


def test_the_command_line_is_constant_plain_and_short_enough_for_cmd() -> None:
    line = bootstrap.COMMAND_LINE
    *words, encoded = line.split(" ")
    assert words == [
        "powershell.exe",
        "-NoLogo",
        "-NoProfile",
        "-NonInteractive",
        "-ExecutionPolicy",
        "Bypass",
        "-InputFormat",
        "None",
        "-EncodedCommand",
    ]
    assert base64.b64decode(encoded).decode("utf-16-le") == bootstrap.PROGRAM
    assert len(line) < bootstrap.LONGEST_COMMAND_LINE // 2
    assert line.isascii()
    assert not set(line) & set("\"'&|<>^%!\r\n")


@pytest.mark.parametrize("program", [bootstrap.PROGRAM, bootstrap.RESIDENT])
def test_the_program_balances_its_brackets_and_quotes(program: str) -> None:
    closing = {")": "(", "]": "[", "}": "{"}
    open_ones: list[str] = []
    quote = ""
    for character in program:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            open_ones.append(character)
        elif character in closing:
            assert open_ones.pop() == closing[character]
    assert not quote
    assert not open_ones


@pytest.mark.parametrize(
    "line",
    [
        "$ProgressPreference='SilentlyContinue'",  # else progress records fill stderr
        "if($null -eq $l){exit 97}",  # stdin ended before the frame: nothing runs
        "while(($l=$r.ReadLine()) -cne '.'){",  # the frame ends with a full stop
        '[Console]::Out.Write($k+"`n")',  # the token, before anything of the script runs
        ". $DLPX|Out-Default",  # in the outermost scope, written out before the exit
        "exit $DLPX_EXIT",
    ],
)
def test_the_program_says(line: str) -> None:
    assert line in bootstrap.PROGRAM.splitlines()


def test_the_token_comes_after_the_frame_and_before_the_script() -> None:
    program = bootstrap.PROGRAM
    assert program.index("exit 97") < program.index("Out.Write($k") < program.index("[ScriptBlock]::Create")
    assert program.index("OutputEncoding=") < program.index("Out.Write($k")


def test_a_script_is_continued_by_what_keeps_the_exit_code() -> None:
    ending = bootstrap.PROGRAM.split("+'", 1)[1].split("'", 1)[0]
    assert ending == (
        "if($?){$global:DLPX_EXIT=0}elseif($LASTEXITCODE){$global:DLPX_EXIT=$LASTEXITCODE}"
        "else{$global:DLPX_EXIT=1}"
    )


@given(
    st.text(st.characters(exclude_categories=["Cs"])).map(str.encode), st.dictionaries(identifiers, values)
)
def test_a_frame_carries_script_and_variables(script: bytes, variables: dict[str, str]) -> None:
    encoded = {name: value.encode() for name, value in variables.items()}
    token = bootstrap.new_token()
    frame = bootstrap.frame(token, script, encoded)
    assert frame.isascii()
    assert frame.endswith(b"\n.\n")
    assert bootstrap.read_frame(frame) == (token, script, encoded)


@given(st.binary(max_size=300), st.data())
def test_a_frame_that_was_cut_off_is_never_taken_for_a_whole_one(script: bytes, data: st.DataObject) -> None:
    frame = bootstrap.frame("0" * 32, script, {"NAME": b"value"})
    cut = data.draw(st.integers(0, len(frame) - 3))
    with pytest.raises(ValueError, match="incomplete"):
        bootstrap.read_frame(frame[:cut])


def test_each_line_of_a_large_script_decodes_by_itself() -> None:
    script = bytes(range(1, 256)) * 1000
    frame = bootstrap.frame("0" * 32, script, {})
    lines = frame.split(b"\n")[1:-2]
    assert max(map(len, lines)) <= 76_000
    assert b"".join(base64.b64decode(line, validate=True) for line in lines) == script


def test_nothing_of_script_or_variables_is_readable_in_the_frame() -> None:
    frame = bootstrap.frame("0" * 32, b"Write-Output secret-in-script", {"PASSWORD": b"secret-value"})
    assert b"secret" not in frame


def test_a_byte_order_mark_is_not_part_of_the_script() -> None:
    assert bootstrap.check_script(b"\xef\xbb\xbf'x'") == b"'x'"


@pytest.mark.parametrize(
    ("script", "part"),
    [(b"\xff\xfe'\0", "no text in UTF-8"), ("'a'\n'\0'", "NUL character in line 2"), ("'\ud800'", "UTF-8")],
)
def test_a_script_that_cannot_be_sent_is_refused(script: str | bytes, part: str) -> None:
    with pytest.raises(InvalidCommand, match=part):
        bootstrap.check_script(script)


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"A B": "x"}, "no identifier"),
        ({"Path": "x", "PATH": "y"}, "one and the same on Windows"),
        ({"A": b"\xff"}, "no text in UTF-8"),
        ({"A": "\0"}, "NUL character"),
        ({"A": "x" * 32_767}, "at most 32766"),
    ],
)
def test_a_variable_that_windows_cannot_hold_is_refused(variables: dict[str, str | bytes], part: str) -> None:
    with pytest.raises(InvalidCommand, match=part):
        bootstrap.check_variables(variables)


def test_the_longest_variable_passes() -> None:
    assert bootstrap.check_variables({"A": "\U0001f600" * 16_383}) == {"A": ("\U0001f600" * 16_383).encode()}


@given(st.text())
def test_a_literal_has_no_quote_that_ends_it_early(text: str) -> None:
    quoted = bootstrap.literal(text)
    inside = quoted[1:-1]
    assert quoted[0] == quoted[-1] == "'"
    for quote in "'\u2018\u2019\u201a\u201b":
        inside = inside.replace(quote * 2, "")
        assert quote not in inside
