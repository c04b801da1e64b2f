"""What starts a script on a Windows host: one constant command line, and a frame that goes over stdin.

The command line holds a small constant PowerShell program in ``-EncodedCommand``. It reads the frame line by
line from stdin: a token, the variables, the script, and a full stop, everything but the token in base64, so
that no code page can harm it. Only when the full stop has come does it say the token on stdout and run the
script; a frame that was cut off runs nothing. What comes on stdin after the frame is the script's own.

``-InputFormat None`` keeps PowerShell itself from reading stdin. This module is pure text. The program cannot
be run where there is no PowerShell; tests pin every word of it.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator, Mapping

from dlpx_remote.transports.base import InvalidCommand

LONGEST_VARIABLE = 32_766
"""UTF-16 units that Windows takes for the value of one environment variable (SetEnvironmentVariable)."""

LONGEST_COMMAND_LINE = 8191
"""Characters that ``cmd.exe``, through which WinRM starts commands, takes (Microsoft KB 830473)."""

INCOMPLETE = 97
"""Exit code where stdin ended before the frame did; nothing has run then."""

LINE = 57_000
"""Bytes of the script in one line of the frame: a multiple of three, so that each line decodes by itself."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# What a script is continued with, so that the exit code is that of a program with which it ends. The two line
# feeds before it: the first may be swallowed by a backtick. A script that consists of named blocks (begin,
# process, end) takes no more, and ends with 0 unless it exits by itself.
_ENDING = (
    "if($?){$global:DLPX_EXIT=0}elseif($LASTEXITCODE){$global:DLPX_EXIT=$LASTEXITCODE}"
    "else{$global:DLPX_EXIT=1}"
)

# Out-Default is called here, and not left to powershell.exe: what it formats is written before the exit.
PROGRAM = f"""\
$ProgressPreference='SilentlyContinue'
try{{[Console]::OutputEncoding=$OutputEncoding=New-Object Text.UTF8Encoding $false}}catch{{}}
$global:DLPX_EXIT=0
$DLPX=&{{
$r=[Console]::In;$u=[Text.Encoding]::UTF8;$m=New-Object IO.MemoryStream
$k=$r.ReadLine()
while(($l=$r.ReadLine()) -cne '.'){{
if($null -eq $l){{exit {INCOMPLETE}}}
$n,$v=$l.Split(' ')
if($null -ne $v){{[Environment]::SetEnvironmentVariable($n,$u.GetString([Convert]::FromBase64String($v)))}}
else{{$d=[Convert]::FromBase64String($n);$m.Write($d,0,$d.Length)}}
}}
$t=$u.GetString($m.ToArray())
[Console]::Out.Write($k+"`n")
$x=[ScriptBlock]::Create($t)
if($x.Ast.EndBlock.Unnamed){{$x=[ScriptBlock]::Create($t+"`n`n"+'{_ENDING}')}}
$x}}
. $DLPX|Out-Default
exit $DLPX_EXIT
"""
"""The constant program: the encoding (which makes Console.Out anew), the frame, the token, the script."""

RESIDENT = f"""\
$ProgressPreference='SilentlyContinue'
try{{[Console]::OutputEncoding=$OutputEncoding=New-Object Text.UTF8Encoding $false}}catch{{}}
$r=[Console]::In
while($null -ne ($DLPX_K=$r.ReadLine())){{
$DLPX=&{{
$u=[Text.Encoding]::UTF8;$m=New-Object IO.MemoryStream;$o=@{{}}
while(($l=$r.ReadLine()) -cne '.'){{
if($null -eq $l){{exit {INCOMPLETE}}}
$n,$v=$l.Split(' ')
if($null -ne $v){{$o[$n]=[Environment]::GetEnvironmentVariable($n)
[Environment]::SetEnvironmentVariable($n,$u.GetString([Convert]::FromBase64String($v)))}}
else{{$d=[Convert]::FromBase64String($n);$m.Write($d,0,$d.Length)}}
}}
$u.GetString($m.ToArray());$o}}
[Console]::Out.Write($DLPX_K+"`n")
$global:DLPX_EXIT=0;$global:LASTEXITCODE=$null
try{{
$x=[ScriptBlock]::Create($DLPX[0])
if($x.Ast.EndBlock.Unnamed){{$x=[ScriptBlock]::Create($DLPX[0]+"`n`n"+'{_ENDING}')}}
&$x|Out-Default
}}catch{{$global:DLPX_EXIT=1;[Console]::Error.WriteLine(($_|Out-String).TrimEnd())}}
foreach($n in $DLPX[1].Keys){{[Environment]::SetEnvironmentVariable($n,$DLPX[1][$n])}}
Set-Location -LiteralPath $env:USERPROFILE
[Console]::Error.Write($DLPX_K+':'+$DLPX_EXIT+"`n")
[Console]::Out.Write($DLPX_K+':'+$DLPX_EXIT+"`n")
}}
"""
"""The same for many scripts, one after another in one process, each in a scope of its own.

After each it says token and exit code on both streams. A script that exits ends the process; the next one
gets another. Errors are text here, for CLIXML is only written to its end when the process ends.
"""

SWITCHES = "-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -InputFormat None -EncodedCommand"


def command_line(program: str = PROGRAM) -> str:
    """The command line that runs ``program`` in Windows PowerShell."""
    encoded = base64.b64encode(program.encode("utf-16-le")).decode()
    return f"powershell.exe {SWITCHES} {encoded}"


COMMAND_LINE = command_line()
"""What every command is started with."""

RESIDENT_LINE = command_line(RESIDENT).replace("powershell.exe ", "powershell.exe -OutputFormat Text ", 1)
"""What a process for many scripts is started with."""


def new_token() -> str:
    """A random word of 128 bits: where it stands on stdout, the script's output begins."""
    return secrets.token_hex(16)


def check_script(script: str | bytes) -> bytes:
    """The script as bytes in UTF-8.

    Raises:
        InvalidCommand: it is no UTF-8 text, or holds a NUL character.
    """
    try:
        data = script.encode() if isinstance(script, str) else script
        if data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
        data.decode()
    except UnicodeError as error:
        raise InvalidCommand(
            f"The script is no text in UTF-8: {error.reason}.",  # type: ignore[attr-defined]
            "Save it as UTF-8, or send binary data as a file.",
        ) from error
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise InvalidCommand(
            f"The script holds a NUL character in line {line}.",
            "Send binary data as a file, or encode it (for example in base64).",
        )
    return data


def check_variables(variables: Mapping[str, str | bytes] | None) -> dict[str, bytes]:
    """The variables as bytes in UTF-8, refused where Windows could not take them.

    Raises:
        InvalidCommand: a name that is no identifier or that differs from another one in case only, a value
            that is no UTF-8 text, holds a NUL character, or is too long.
    """
    checked: dict[str, bytes] = {}
    seen: dict[str, str] = {}
    for name, value in (variables or {}).items():
        if not _NAME.match(name):
            raise InvalidCommand(
                f"The variable name {name!r} is no identifier.",
                "Use letters, digits and underscores, not beginning with a digit.",
            )
        if (other := seen.setdefault(name.upper(), name)) != name:
            raise InvalidCommand(
                f"The variables {other} and {name} are one and the same on Windows.",
                "Choose names that differ in more than upper and lower case.",
            )
        try:
            data = value.encode() if isinstance(value, str) else value
            units = len(data.decode().encode("utf-16-le")) // 2
        except UnicodeError as error:
            raise InvalidCommand(
                f"The value of the variable {name} is no text in UTF-8, and Windows holds nothing else.",
                "Encode it (for example in base64).",
            ) from error
        if b"\0" in data:
            raise InvalidCommand(
                f"The value of the variable {name} holds a NUL character, which no environment can hold.",
                "Encode it (for example in base64).",
            )
        if units > LONGEST_VARIABLE:
            raise InvalidCommand(
                f"The variable {name} has {units} characters; Windows takes at most {LONGEST_VARIABLE}.",
                "Send it as part of the script or as a file.",
            )
        checked[name] = data
    return checked


def frame(token: str, script: bytes, variables: Mapping[str, bytes]) -> bytes:
    """What goes over stdin: ``script`` and ``variables`` are already checked."""
    return b"\n".join(_lines(token, script, variables)) + b"\n"


def _lines(token: str, script: bytes, variables: Mapping[str, bytes]) -> Iterator[bytes]:
    yield token.encode()
    for name, value in variables.items():
        yield name.encode() + b" " + base64.b64encode(value)
    for start in range(0, len(script), LINE):
        yield base64.b64encode(script[start : start + LINE])
    yield b"."


def read_frame(data: bytes) -> tuple[str, bytes, dict[str, bytes]]:
    """Token, script and variables of a frame: what the program makes of it, for test hosts.

    Raises:
        ValueError: it is cut off.
    """
    token, *lines = data.split(b"\n")
    if b"." not in lines:
        raise ValueError("The frame is incomplete.")
    variables: dict[str, bytes] = {}
    script = bytearray()
    for line in lines[: lines.index(b".")]:
        name, space, value = line.partition(b" ")
        if space:
            variables[name.decode()] = base64.b64decode(value, validate=True)
        else:
            script += base64.b64decode(line, validate=True)
    return token.decode(), bytes(script), variables


def literal(text: str) -> str:
    """``text`` as a PowerShell string that nothing in it can break out of.

    PowerShell also takes typographic single quotes for quotes (about_Quoting_Rules).
    """
    return "'" + re.sub("['\u2018\u2019\u201a\u201b]", lambda found: found[0] * 2, text) + "'"
