"""The program of the persistent runner: what one long-lived bash on the host does, and how it is spoken to.

A *watcher* bash reads jobs from the channel's stdin. For each it hands the rest of its input to a *spare*: a
fresh bash in a session of its own that was started beforehand, reads script and variables itself, and runs
them. The watcher waits for it, makes sure that nobody is left who could write into the output of the next
command, and reports. Everything is in-band; nothing of a script or variable is on a command line. On most
hosts a perl takes the watcher's place, which costs them less: see ``runner_perl``.

Where a process that came with the command still holds the streams, the report says so, and the caller gives
the channel up. Whether one does is asked of ``/proc``: only processes younger than the command can, and of
those only the ones that descend from it, whose parent is one of them or an ancestor of the watcher (which
adopts orphans). What cannot be looked into counts as holding.

When the connection ends without a farewell, the watcher leaves an empty file whose name tells which command
was the last, and how it ended: what :data:`SETTLE` reads. This module is pure text; it knows nothing of
connections.
"""

from __future__ import annotations

from dlpx_remote.transports.ssh.bootstrap import Token, set_locale
from dlpx_remote.transports.ssh.facts import FACT_FUNCTION

OLDEST_BASH = "5.1"
"""The first whose ``wait`` knows every process substitution (``procsubs`` in its jobs.c). From 4.4 on it knew
the last one: it would call a command ended, with exit code 127, once the next spare is there."""

FAREWELL = b"Q\n"
"""The last thing a caller says who knows how every command ended."""

STALE = 86_400
"""Seconds after which a file that tells how a command ended is removed by whoever comes next."""


def job_of_spare(wait: str) -> str:
    """What a bash does that waits for a job.

    Args:
        wait: reads the job's first line; the payload is on descriptor 9 then, and nothing on stdin.
    """
    # The length is the last positional parameter.
    return (
        f"{wait}; "
        '[ "$_dlpx_mode" = L ] && { @LC_ALL@; exec "$BASH" --login -c "$1" bash "$_dlpx_length" "$2"; }; '
        '_dlpx_payload=$1; set -- "$_dlpx_length" "$2"; eval "$_dlpx_payload"'
    )


def payload_reader(cut: str) -> str:
    """What reads the payload and evaluates it: the length of the prelude, prelude, script.

    Args:
        cut: done where it is not whole.
    """
    # LC_ALL=C makes lengths count bytes.
    return (
        'LC_ALL=C; read -rN "$1" -u 9 _dlpx_payload; '
        'if [ "${#_dlpx_payload}" = "$1" ]; then exec 9<&-; '
        + set_locale(2)
        + 'eval "${_dlpx_payload:8:10#${_dlpx_payload:0:8}}"; '
        'eval "unset _dlpx_payload _dlpx_mode _dlpx_length;: $BASH;'
        '${_dlpx_payload:8+10#${_dlpx_payload:0:8}}"; '
        f"else {cut}; fi"
    )


# The gate is a spare's stdin until the job comes. A payload that was cut off is told to the watcher by a
# signal, since every exit code may be a script's own.
_JOB = job_of_spare("read -r _dlpx_mode _dlpx_length || exit; exec </dev/null")
_PAYLOAD = payload_reader("kill -USR2 $PPID; exit 97")

# The places for the file that is left: the first that takes one.
_PLACES = '"$TMPDIR" /tmp /dev/shm /var/tmp "$HOME"'

_PROGRAM = rb"""
exec 9<&0 </dev/null 6>&1 7>&2 2>/dev/null; set +eu
read -r first second name want stale forget <&9 || exit
forget() { # NAME:WATCHER:BORN of those that nobody asks for: end what still waits, and remove what was left
  local one file place left=()
  for one in $forget; do
    file=${one#*:}
    field ${file%:*} && [ "${fields[19]}" = ${file#*:} ] && kill -KILL ${file%:*}
  done
  for place in @PLACES@; do
    for file in "$place"/.dlpx-remote.[0-9]*; do
      one=${file##*/.dlpx-remote.} one=${one#*.} one=${one%%.*}
      [[ " $forget" = *" $one:"* ]] && left+=("$file") && say "G:$one"
    done
  done
  [ ${#left[@]} = 0 ] || rm -f -- "${left[@]}"
}
mark=$first$second
say() { printf '%s:%s\n' $mark "$1" >&6; }
no() { say "N:$1"; exit; }
((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501)) || no "bash $BASH_VERSION is older than @OLDEST@"
hash setsid || no 'the program setsid is missing'
setsid=${BASH_CMDS[setsid]}
[ -r /proc/1/stat ] && [ -r /proc/loadavg ] && [ -e /proc/self/fd/6 ] ||
  no '/proc does not show the processes of others'
# A start-up file of every bash would write into the output of commands; their own children still find it.
restore=
[ -z "${BASH_ENV+x}" ] || { printf -v restore 'export BASH_ENV=%q; ' "$BASH_ENV"; unset BASH_ENV; }
job=$restore@JOB@ payload=@PAYLOAD@
# Bash begins faster without a locale of its own; start-up files still find the account's.
all='unset LC_ALL'; [ -z "${LC_ALL+x}" ] || printf -v all 'export LC_ALL=%q' "$LC_ALL"
job=${job/@LC_ALL@/"$all"}
field() { # PROCESS: its fields of stat(5) from the state on
  local line
  { read -r line </proc/$1/stat; } 2>/dev/null || return
  fields=(${line##*) })
}
kin=' 1 ' process=$PPID
while ((process > 1)) && field $process; do kin+="$process " process=${fields[1]}; done
field $$; born=${fields[19]}
quick=0; [ -r /proc/1/task/1/children ] && quick=1
spare() { # a redirection of exec would end this shell where no process can be had
  next=
  true {gate}> >(
    LC_ALL=C exec "$setsid" "$BASH" --noprofile --norc -c "$job" bash "$payload" "$locale" >&6 2>&7 6>&- 7>&-
  ) && next=$!
}
holding() { # whether a process that came with the command holds the streams
  local process=$command file key value rest
  ((SECONDS - began < 10)) || return 0 # so long that numbers of processes may have come round
  ((quick)) && ! orphaned && return 1
  read -r _ _ _ _ last </proc/loadavg
  ((next && last >= next && last - command < 400)) || return 0
  while ((++process <= last)); do
    [[ $process != $next && -e /proc/$process ]] && read -r rest </proc/$process/stat || continue
    rest=${rest##*) }; key=${rest%% *} rest=${rest#* }; value=${rest%% *} # state and parent
    [[ $key = [ZX] ]] && continue
    ((value >= command)) || [[ $kin = *" $value "* ]] || continue
    for file in /proc/$process/fd/*; do
      [[ $file -ef /proc/self/fd/6 || $file -ef /proc/self/fd/7 ]] && return 0
    done
    if [ ! -r /proc/$process/fd ]; then # another's: unless it is only a thread, nobody knows
      while read -r key value; do [ "$key" = Tgid: ] && break; done </proc/$process/status
      [ "$value" = $process ] && return 0
    fi
  done
  return 1
}
orphaned() { # whether a process came to one that adopts; whatever outlives its parents has such an ancestor
  local parent child children
  ((next > command)) || return 0
  kill -0 -- -$command && return 0
  for parent in $kin; do
    read -r -a children </proc/$parent/task/$parent/children
    for child in "${children[@]}"; do ((child <= command)) || return 0; done
  done
  return 1
}
still_holding() { # the same after a moment for those that are about to end
  local tries nothing
  exec {nothing}<> <(:)
  for tries in 1 2 3 4 5; do read -r -t 0.01 -u $nothing; holding || break; done
  exec {nothing}<&-
  holding
}
leave() { # tell those who come later how the last command ended
  trap '' HUP
  local place now
  printf -v now '%(%s)T' -1
  umask 077; set -C # not in a subshell: one would go on when this shell is killed
  [ "$said_farewell" ] || for place in @PLACES@; do
    [ -d "$place" ] && : >"$place/.dlpx-remote.$now.$name.$number.$code" && break
  done
  exit
}
number=0 code=- said_farewell= lost= cut= interrupted= waiting=
trap : PIPE
trap 'lost=1 interrupted=1; [ -z "$waiting" ] || leave' HUP
trap 'cut=1 interrupted=1' USR2
fact() { say "F:$1=$2"; }
utf8_locale
[ "$want" = F ] && facts
printf -v now '%(%s)T' -1
for place in @PLACES@; do
  for file in "$place"/.dlpx-remote.[0-9]*; do
    [ -O "$file" ] || continue
    value=${file##*/.dlpx-remote.} value=${value%%.*}
    ((now - value < stale)) || rm -f -- "$file"
  done
done
[ -z "$forget" ] || forget
spare
# Where nobody listens any more, nothing is begun.
printf '%s:W:\n' $mark >&7 && say "W:$$ $born $next" || exit
while waiting=1; read -r mode length <&9; do
  waiting=
  case $mode in R|L) ;; Q) said_farewell=1; break;; *) break;; esac
  ((++number)); code=r command=$next began=$SECONDS
  printf '%s %s\n' "$mode" "$length" >&$gate; exec {gate}>&-
  spare
  while interrupted=; wait $command; code=$?; [ "$interrupted" ]; do :; done
  [ "$cut" ] && { code=n; break; }
  held=0; holding && still_holding && held=1
  printf '%s:E:%s\n' $mark $code >&7; say "E:$code $held $next" || break
  [ "$lost" ] && break
done
leave
"""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _program() -> bytes:
    """The program, with its parts in their places."""
    text = _PROGRAM
    for name, value in (
        (b"@OLDEST@", OLDEST_BASH),
        (b"@JOB@", _quoted(_JOB)),
        (b"@PAYLOAD@", _quoted(_PAYLOAD)),
        (b"@PLACES@", _PLACES),
    ):
        text = text.replace(name, value.encode())
    return FACT_FUNCTION + text


LAST = b"\ndone\nleave\n"
"""How the program ends."""

PROGRAM = _program()
"""What the watcher evaluates; the same for every connection, in plain ASCII."""


def opening(token: Token, name: str, *, want_facts: bool, forget: tuple[str, ...] = ()) -> bytes:
    """What starts a runner, to be sent to a bash that reads commands from its stdin.

    Args:
        token: of the reports.
        name: of this runner, in the file that it may leave; hexadecimal.
        want_facts: report the account's facts first.
        forget: runners whose callers know all, as ``NAME:WATCHER:BORN``: they are ended, and what they left
            is removed.
    """
    first, second = token.halves
    # In a bash of its own: one that reads its commands from stdin breaks when that is given another meaning.
    head = b'read -rN %d p && exec "$BASH" --noprofile --norc -c "$p" || exit\n' % len(PROGRAM)
    words = (first, second, name, "F" if want_facts else "-", str(STALE), *forget)
    return head + PROGRAM + " ".join(words).encode() + b"\n"


def job(payload: bytes, *, login_shell: bool) -> bytes:
    """One command, as the watcher reads it.

    Args:
        payload: see :func:`dlpx_remote.transports.ssh.bootstrap.payload`.
        login_shell: let a login shell run it.
    """
    return b"%s %d\n" % (b"L" if login_shell else b"R", len(payload)) + payload


def settle(name: str, watcher: int, born: int) -> bytes:
    """A script that asks, on another connection, how the last command of a runner ended.

    It prints ``file NUMBER CODE`` (and removes the file), ``running`` while the watcher waits for a command,
    ``gone`` when there is neither watcher nor file. A watcher that does not know yet that nobody listens to
    it is told.

    Args:
        name: of the runner.
        watcher: its process.
        born: when that began, in the kernel's ticks; numbers of processes are used again.
    """
    return (
        _SETTLE.replace(b"@NAME@", name.encode())
        .replace(b"@WATCHER@", b"%d" % watcher)
        .replace(b"@BORN@", b"%d" % born)
        .replace(b"@PLACES@", _PLACES.encode())
    )


_SETTLE = rb"""
look() {
  local place file rest
  for place in @PLACES@; do
    for file in "$place"/.dlpx-remote.*.@NAME@.*; do
      [ -e "$file" ] || continue
      rest=${file##*.@NAME@.}
      echo "file ${rest%%.*} ${rest#*.}"
      rm -f -- "$file"
      exit
    done
  done
}
alive() {
  local line
  { read -r line </proc/@WATCHER@/stat; } 2>/dev/null || return
  set -- ${line##*) }
  [ "${20}" = @BORN@ ] && [ "$1" != Z ]
}
look
alive && kill -HUP @WATCHER@
for try in 1 2 3 4 5 6; do
  alive || { look; echo gone; exit; }
  sleep 0.02
done
look
echo running
"""
