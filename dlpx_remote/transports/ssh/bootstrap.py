"""The text that starts a command on the host: what is executed, what is fed to it, and how it reports back.

The exec request carries one constant string that every login shell parses alike. Everything else travels
over the channel's stdin. A *watcher* bash reads the bootstrap byte by byte (bash does so on anything that
cannot seek, so it never swallows what follows), starts a fresh *runner* bash in a session of its own, and
reports its exit code on both streams once it has ended. The runner slurps the rest of stdin, checks that it
arrived whole, applies variables and home directory, reports that it starts, and evaluates the script. A
connection cut while sending therefore never runs half a script.

Reports are lines ``<token>:<kind>:<value>`` with a random token per command; what precedes them is noise of
start-up files. This module is pure text; it knows nothing of connections.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dlpx_remote.transports.base import InvalidCommand

EXEC = "exec bash --noprofile --norc"
"""What the exec request holds; read by the account's login shell, so nothing but plain words."""

TOKEN_LENGTH = 32
LONGEST_VARIABLE = 128 * 1024
"""Linux refuses a longer ``NAME=value`` with its final NUL (``MAX_ARG_STRLEN``, execve(2))."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_OWNED_BY_BASH = frozenset(
    (
        "_",
        "BASHOPTS",
        "BASHPID",
        "BASH_ALIASES",
        "BASH_ARGC",
        "BASH_ARGV",
        "BASH_ARGV0",
        "BASH_CMDS",
        "BASH_COMMAND",
        "BASH_LINENO",
        "BASH_SOURCE",
        "BASH_SUBSHELL",
        "BASH_VERSINFO",
        "DIRSTACK",
        "EPOCHREALTIME",
        "EPOCHSECONDS",
        "EUID",
        "FUNCNAME",
        "GROUPS",
        "HISTCMD",
        "LINENO",
        "PIPESTATUS",
        "PPID",
        "RANDOM",
        "SECONDS",
        "SHELLOPTS",
        "SRANDOM",
        "UID",
        "_dlpx_payload",
    )
)


def set_locale(parameter: int) -> str:
    """What makes a bash that counts bytes (``LC_ALL=C``) count characters; it uses up its parameters.

    Only how characters are written is taken from the locale: everything else is POSIX's, the same on every
    host, and need not be loaded, which would take a tenth of the time that a bash takes to start.

    Args:
        parameter: which positional parameter is the locale's name; empty leaves the account's own.
    """
    return (
        f'if [ -n "${parameter}" ]; then unset LANG; export LC_CTYPE="${parameter}"; set -- ${{!LC_@}}; '
        "while [ $# != 0 ]; do case $1 in LC_ALL|LC_CTYPE);; *) unset $1;; esac; shift; done; fi; "
        "unset LC_ALL; set --; "
    )


# The runner: LC_ALL=C makes lengths count bytes. The payload is frame, locale, length of the prelude,
# prelude, script, frame; the second frame proves that nothing was cut off. The script's first line keeps
# number 1.
_RUNNER = (
    "LC_ALL=C; _dlpx_payload=$(exec cat <&9); exec 9<&-; "
    'if [ "${_dlpx_payload:0:32}" = "${_dlpx_payload: -32}" ]; then '
    "set -- ${_dlpx_payload:32:32}; "
    '_dlpx_payload="${_dlpx_payload:64:${#_dlpx_payload}-97}"; '
    + set_locale(1)
    + 'eval "${_dlpx_payload:8:10#${_dlpx_payload:0:8}}"; '
    'eval "unset _dlpx_payload;: $BASH;${_dlpx_payload:8+10#${_dlpx_payload:0:8}}"; '
    "else exit 97; fi"
)
_LOGIN_RUNNER = 'exec bash --login -c "$0"'


@dataclass(frozen=True)
class Token:
    """The random word that tells reports from a script's output."""

    value: str

    @classmethod
    def new(cls) -> Token:
        """A fresh token of 128 random bits."""
        return cls(secrets.token_hex(TOKEN_LENGTH // 2))

    @property
    def halves(self) -> tuple[str, str]:
        """Both halves; text sent to a shell holds them apart, so that an echo of it is no report."""
        return self.value[:16], self.value[16:]

    @property
    def frame(self) -> str:
        """Marks both ends of the payload; another word, so that an echo of the payload is no report."""
        return self.value[16:] + self.value[:16]


def check_script(script: str | bytes) -> bytes:
    """The script as bytes with LF line ends.

    Raises:
        InvalidCommand: it holds a NUL byte, which no shell can read.
    """
    data = script.encode("utf-8", "surrogateescape") if isinstance(script, str) else script
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise InvalidCommand(
            f"The script holds a NUL byte in line {line}, which no shell can read.",
            "Send binary data as a file, or encode it (for example in base64).",
        )
    line_feeds = data.count(b"\n")
    if line_feeds and data.count(b"\r\n") == line_feeds:
        data = data.replace(b"\r\n", b"\n")
        data = data.removesuffix(b"\r")
    return data


def check_variables(
    variables: Mapping[str, str | bytes] | None, *, linux: Callable[[], bool]
) -> dict[str, bytes]:
    """The variables as bytes, refused where a shell or the kernel could not take them.

    Args:
        variables: by name.
        linux: whether the host is one; asked only where it matters.

    Raises:
        InvalidCommand: a name that is no identifier or belongs to bash itself, a NUL byte, or (on Linux) a
            value that the kernel would not pass on.
    """
    checked: dict[str, bytes] = {}
    for name, value in (variables or {}).items():
        if not _NAME.match(name):
            raise InvalidCommand(
                f"The variable name {name!r} is no shell identifier.",
                "Use letters, digits and underscores, not beginning with a digit.",
            )
        if name in _OWNED_BY_BASH:
            raise InvalidCommand(f"The variable {name} is set by bash itself.", "Choose another name.")
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if b"\0" in data:
            raise InvalidCommand(
                f"The value of the variable {name} holds a NUL byte, which no environment can hold.",
                "Encode it (for example in base64).",
            )
        size = len(name) + 1 + len(data) + 1
        if size > LONGEST_VARIABLE and linux():
            raise InvalidCommand(
                f"The variable {name} has {len(data)} bytes; a Linux host takes at most "
                f"{LONGEST_VARIABLE - len(name) - 2} for it.",
                "Send it as part of the script or as a file.",
            )
        checked[name] = data
    return checked


def quote(value: bytes) -> bytes:
    """``value`` as one shell word on one line: every byte but NUL survives."""
    if re.fullmatch(rb"[A-Za-z0-9_./:@%+,-]+", value):
        return value
    if not re.search(rb"[^\x20-\x7e]", value):
        return b"'" + value.replace(b"'", rb"'\''") + b"'"
    return b"$'" + re.sub(rb"[^\x20-\x26\x28-\x5b\x5d-\x7e]", _octal, value) + b"'"


def _octal(found: re.Match[bytes]) -> bytes:
    return b"\\%03o" % found.group()[0]


def watcher(token: Token, *, login_shell: bool) -> bytes:
    """The bootstrap: starts the runner, then reports its exit code on both streams.

    One group, so that bash has read all of it before the runner takes over stdin. A report that cannot be
    written means that nobody listens any more: then nothing is started.
    """
    first, second = token.halves
    runner = _LOGIN_RUNNER if login_shell else None
    arguments = f"{_word(runner)} {_word(_RUNNER)}" if runner else _word(_RUNNER)
    return (
        "{ exec 9<&0 </dev/null 8>&2 2>/dev/null; set +eu; "
        f"printf '%s%s:W:%s\\n' {first} {second} $$ || exit; "
        "r=setsid; command -v setsid >/dev/null || { r=; set -m; }; "
        f"$r bash --noprofile --norc -c {arguments} 2>&8 8>&-; r=$?; "
        f"printf '%s%s:E:%s\\n' {first} {second} $r; "
        f"printf '%s%s:E:%s\\n' {first} {second} $r >&8; exit $r; }}\n"
    ).encode()


def payload(
    token: Token,
    script: bytes,
    variables: Mapping[str, bytes],
    *,
    expect: str | None = None,
    home_needed: bool = True,
    reports_start: bool = True,
) -> bytes:
    """What a fresh bash evaluates: length of the prelude, prelude, script.

    Args:
        token: of the reports.
        script: already checked.
        variables: already checked.
        expect: path of ``expect`` on the host when it is to run the script, else None for bash.
        home_needed: report and give up where the home directory cannot be entered; else go on in ``/``.
        reports_start: say on both streams that the script starts, because something may have written before.
    """
    first, second = (half.encode() for half in token.halves)
    no_home = (
        b"{ printf '%%s%%s:H:%%s\\n' %s %s \"$HOME\"; exit 97; }" % (first, second)
        if home_needed
        else b"cd /"
    )
    prelude = [
        b"unset BASH_EXECUTION_STRING",
        # The account's home is wanted even where start-up files went elsewhere; OLDPWD would tell of the cd.
        b"cd 2>/dev/null || %s; unset OLDPWD" % no_home,
        *(b"export %s=%s" % (name.encode(), quote(value)) for name, value in variables.items()),
    ]
    if reports_start:
        prelude.append(
            b"printf '%%s%%s:S:%%s\\n' %s %s $$ && printf '%%s%%s:S:%%s\\n' %s %s $$ >&2 || exit 97"
            % (first, second, first, second)
        )
    head = b"; ".join(prelude)
    if expect is not None:
        # The shell's own printf writes into a pipe: the script is on no command line.
        script = b"exec %s -f <(printf %%s %s)" % (quote(expect.encode()), quote(script))
    return b"%08d" % len(head) + head + script + b"\n"


def framed(token: Token, payload: bytes, locale: str | None) -> bytes:
    """A payload for the runner of one command, which reads to the end of its input.

    Args:
        token: of the frame around it.
        payload: see :func:`payload`.
        locale: value of ``LC_CTYPE``; None leaves the account's own.
    """
    word = token.frame.encode()
    return word + b"%-32s" % (locale or "").encode() + payload + word


def _word(text: str) -> str:
    return quote(text.encode()).decode()


def kill_script(process_group: int | None, watcher_process: int) -> bytes:
    """A script that ends a command's processes and prints ``gone`` once none is left.

    Args:
        process_group: of the runner; None when it had not reported yet.
        watcher_process: the watcher's process id.
    """
    return _KILL.replace(b"@GROUP@", str(process_group or 0).encode()).replace(
        b"@WATCHER@", str(watcher_process).encode()
    )


# First TERM, so that a script can tidy up; after two seconds KILL. /proc tells which processes belong to the
# runner's session, also those that left its group; where there is no /proc the group alone is asked.
_KILL = rb"""
group=@GROUP@ watcher=@WATCHER@
members() {
  if [ ! -r /proc/self/stat ]; then
    if [ "$group" -gt 0 ] && kill -0 -- "-$group" 2>/dev/null; then echo "-$group"; fi
    return
  fi
  for file in /proc/[0-9]*/stat; do
    line=; read -r line 2>/dev/null < "$file" || continue
    process=${line%% *}; set -- ${line##*) }
    [ "$1" = Z ] && continue
    if [ "$group" -gt 0 ]; then
      if [ "$3" = "$group" ] || [ "$4" = "$group" ]; then echo "$process"; fi
    elif [ "$2" = "$watcher" ]; then
      echo "-$process"
    fi
  done
}
found=$(members)
if [ "$group" = 0 ] && [ -n "$found" ]; then group=${found%%[!-0-9]*}; group=${group#-}; found=$(members); fi
signal=TERM
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
  [ -z "$found" ] && break
  [ "$try" -ge 15 ] && signal=KILL
  if [ "$try" = 1 ] || [ "$signal" = KILL ]; then
    kill -$signal -- $found; kill -CONT -- $found
  fi 2>/dev/null
  case $try in 1|2|3) sleep 0.02;; *) sleep 0.15;; esac
  found=$(members)
done
if [ "$group" = 0 ] && kill -0 "$watcher"; then kill -KILL "$watcher"; exit 1; fi 2>/dev/null
[ -z "$found" ] && echo gone
"""
