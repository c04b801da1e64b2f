"""The tour: throw-away hosts, then the commands a person would type, each shown before it really runs."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dlpx_remote.demo import containers, database, full, loopback
from dlpx_remote.demo.host import DemoHost, DemoHosts, DemoUnavailable, Keeping
from dlpx_remote.demo.share import shared

Say = Callable[[str], None]
Run = Callable[[Sequence[str]], int]

_HOSTS_AS_CONTAINERS = 3
_HOSTS_ON_LOOPBACK = 1
_PLUGINS = ("postgres", "files")


@dataclass(frozen=True)
class Choices:
    """What the person asked of the demo.

    Attributes:
        keep: leave hosts and state there at the end.
        hosts: how many; None takes three containers or one server on loopback.
        install_missing: install OpenSSH's server where it is needed and missing.
        loopback: use loopback even where a Docker engine answers.
        full: the whole life of a database and its clones instead of discovery, on this machine.
    """

    keep: bool = False
    hosts: int | None = None
    install_missing: bool = False
    loopback: bool = False
    full: bool = False


class Terminated(BaseException):
    """The process was asked to end; raised so that everything made is removed on the way out.

    Attributes:
        exit_code: 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


def play(choices: Choices, run: Run, say: Say) -> int:
    """The whole demo.

    Args:
        choices: see there.
        run: runs one command line (without the program's name) and returns its exit code.
        say: prints one line for people.

    Returns:
        0 when every command succeeded, else the first other exit code.

    Raises:
        DemoUnavailable: no host can be made here.
        Terminated: the process was asked to end.
    """
    if choices.full and choices.keep:
        raise DemoUnavailable("--full removes what it made.", "Leave out --keep.")
    with _ends_in_order() as (stack, asked):
        run = _unless_asked(asked, run)
        directory = Path(tempfile.mkdtemp(prefix="dlpx-remote-demo-"))
        # Whoever owns the database must get through to its directory; names below are not listed to others.
        directory.chmod(0o711)
        keep = Keeping(choices.keep)
        stack.callback(_remove_unless, keep, directory)
        if choices.full:
            stack.enter_context(_environment_variable("DLPX_REMOTE_STATE", str(directory / "state")))
            return full.play(directory, choices.install_missing, run, say)
        hosts = _hosts(choices, directory, keep, stack, say)
        keep.ready = True
        state = directory / "state"
        stack.enter_context(_environment_variable("DLPX_REMOTE_STATE", str(state)))
        say(f"Made for this demo: {hosts.what}.")
        try:
            code = _tour(hosts, run, say, state)
        finally:
            _say_what_is_left(choices.keep, hosts, directory, say)
    return code


def _hosts(choices: Choices, directory: Path, keep: Keeping, stack: ExitStack, say: Say) -> DemoHosts:
    place = directory / "hosts"
    place.mkdir(mode=0o711)
    if not choices.loopback and containers.engine_answers():
        try:
            return stack.enter_context(
                containers.containers(choices.hosts or _HOSTS_AS_CONTAINERS, place, keep, say)
            )
        except DemoUnavailable as unavailable:
            say(f"{unavailable.message} {unavailable.output}".rstrip())
            say("Taking a host on loopback instead.")
            shutil.rmtree(place)
            place.mkdir(mode=0o711)
    why = "" if choices.loopback else "No Docker engine can be used either."
    sshd = loopback.require_sshd(choices.install_missing, why, say)
    found = stack.enter_context(database.cluster(directory / "postgresql", keep))
    hosts = stack.enter_context(
        loopback.loopback_hosts(choices.hosts or _HOSTS_ON_LOOPBACK, place, keep, sshd)
    )
    return DemoHosts(f"{hosts.what}, and {found.what}", hosts.hosts, hosts.key, (*hosts.undo, *found.undo))


def _tour(hosts: DemoHosts, run: Run, say: Say, state: Path) -> int:
    lines: list[list[str]] = []
    for host in hosts.hosts:
        lines.append(_add(host, hosts.key))
    lines.append(["env", "test", hosts.hosts[0].name])
    lines += [["plugin", "add", str(shared("examples") / name)] for name in _PLUGINS]
    lines.append(["discover"])
    say("")
    say(f"$ export DLPX_REMOTE_STATE={shlex.quote(str(state))}")
    code = 0
    for line in lines:
        say("")
        say(f"$ dlpx-remote {shlex.join(line)}")
        ended_with = run(line)
        code = code or ended_with
    return code


def _add(host: DemoHost, key: Path) -> list[str]:
    words = ["env", "add", host.name, "--host", host.address, "--port", str(host.port), "--user", host.user]
    return [*words, "--key", str(key), "--fingerprint", host.fingerprint]


def _remove_unless(keep: Keeping, directory: Path) -> None:
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)


def _say_what_is_left(keep: bool, hosts: DemoHosts, directory: Path, say: Say) -> None:
    say("")
    if not keep:
        say("Everything that the demo made is being removed.")
        return
    say("The hosts and the state are still there. To remove them:")
    for line in (*hosts.undo, f"rm -r {shlex.quote(str(directory))}"):
        say(f"  {line}")


@contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _ends_in_order() -> Iterator[tuple[ExitStack, list[int]]]:
    """A stack of what must be undone, unwound on TERM and HUP too, and not cut short by a second Ctrl-C.

    And the signals by which the process was asked to end: what a handler raises is lost where Python cannot
    pass it on, as in a finalizer.
    """
    asked: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        raise _ending(number)

    numbers = [signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, end) for number in numbers}
    before.setdefault(signal.SIGINT, signal.getsignal(signal.SIGINT))
    try:
        with ExitStack() as stack:
            try:
                yield stack, asked
            finally:
                for number in before:
                    signal.signal(number, signal.SIG_IGN)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


def _unless_asked(asked: list[int], run: Run) -> Run:
    """The same command lines, as long as nobody has asked the process to end."""

    def unless_asked(line: Sequence[str]) -> int:
        code = 0 if asked else run(line)
        if asked:
            raise _ending(asked[0])
        return code

    return unless_asked
