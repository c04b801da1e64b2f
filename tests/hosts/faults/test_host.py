"""The host has no process, no space, or no life left."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlpx_remote.transports.base import (
    CommandTimeout,
    Deadlines,
    NotSent,
    OutcomeUnknown,
    OutputLost,
    TransferFailed,
    TransportError,
)
from dlpx_remote.transports.ssh import SshTarget, connect
from tests.hosts.faults.conftest import Reach
from tests.hosts.faults.leftovers import wait_until_empty
from tests.hosts.faults.proxy import Proxy
from tests.hosts.ssh_host import SshHost, ssh_host

DEADLINE = 5.0
_WITNESS = "/home/engine/witness"


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def host(own_ssh_host: SshHost, reach: Reach) -> Iterator[SshHost]:
    """A host of the test's own, on which it leaves nothing but the witness."""
    with _nothing_left(own_ssh_host, reach):
        yield own_ssh_host


@contextmanager
def _nothing_left(host: SshHost, reach: Reach) -> Iterator[None]:
    """Nothing is left once all has ended and one more connection has come by."""
    before = host.contents()
    yield
    _wait_until_idle(host, before)
    with connect(_again(host, reach)) as connection:
        connection.run(f"rm -f {_WITNESS}")
    assert host.left_behind(before) == []


def _wait_until_idle(host: SshHost, before: frozenset[str]) -> None:
    """Wait until no process runs that did not run ``before``."""
    wait_until_empty(lambda: [what for what in host.contents() - before if what.startswith("process")])


def _again(host: SshHost, reach: Reach) -> SshTarget:
    """The way to a host that may have been started again."""
    port = int(_docker("port", host.container, "22/tcp").splitlines()[0].rpartition(":")[2])
    return dataclasses.replace(reach(host), port=port)


def _witnessed(host: SshHost) -> str:
    return host.root(f"cat {_WITNESS} 2>/dev/null || true")


@contextmanager
def _free_processes(host: SshHost, count: int) -> Iterator[None]:
    """The host can start ``count`` more processes or threads, and no more."""
    counters = "/sys/fs/cgroup/pids.current /sys/fs/cgroup/pids/pids.current"  # version 2, version 1
    counted = _docker("exec", host.container, "sh", "-c", f"cat {counters} 2>/dev/null || true")
    now = int(counted.split()[0]) - 2  # less that shell and cat
    _docker("update", "--pids-limit", str(now + count), host.container)
    try:
        yield
    finally:
        _docker("update", "--pids-limit", "-1", host.container)


class TestFullProcessTable:
    """From no process at all to just enough."""

    @pytest.mark.parametrize("free", [0, 1, 2, 3, 4, 5, 6, 8])
    def test_a_new_connection_works_or_says_what_is_wrong(
        self, host: SshHost, reach: Reach, free: int
    ) -> None:
        script = f"echo begin >>{_WITNESS}"  # needs no process of its own
        failure: TransportError | None = None
        before = host.contents()
        with _free_processes(host, free):
            try:
                with connect(
                    reach(host), deadlines=Deadlines(connect=DEADLINE, total=DEADLINE)
                ) as connection:
                    assert connection.run(script).exit_code == 0
            except TransportError as error:
                failure = error
        _wait_until_idle(host, before)  # a shell that gets no process tries again for a while
        witnessed = _witnessed(host)
        if failure is None:
            assert witnessed == "begin\n"
        else:
            assert failure.action, failure
            assert witnessed == "" or isinstance(failure, (OutcomeUnknown, CommandTimeout)), failure
        with connect(reach(host)) as connection:
            assert connection.run("echo next").stdout == b"next\n"

    def test_an_open_connection_tells_the_truth_and_works_once_there_is_room(
        self, host: SshHost, reach: Reach
    ) -> None:
        with connect(reach(host), deadlines=Deadlines(total=DEADLINE)) as connection:
            assert connection.run("echo before").stdout == b"before\n"
            succeeded = ""
            with _free_processes(host, 0):
                for number in range(3):  # each may find a shell that is there already
                    with contextlib.suppress(TransportError):
                        connection.run(f"echo {number} >>{_WITNESS}")
                        succeeded += f"{number}\n"
            assert _witnessed(host) == succeeded
            try:
                assert connection.run("echo after").stdout == b"after\n"
            except TransportError:  # sshd itself may have given the connection up
                with connect(reach(host)) as another:
                    assert another.run("echo after").stdout == b"after\n"


@pytest.fixture
def host_with_small_tmp(ssh_image: str, tmp_path: Path, reach: Reach) -> Iterator[SshHost]:
    (tmp_path / "host").mkdir()
    with ssh_host(ssh_image, tmp_path / "host", small_tmp=True) as host, _nothing_left(host, reach):
        yield host
        host.root("rm -f /tmp/kept /tmp/full")


def test_a_full_disk_stops_a_copy_cleanly_and_no_command(
    host_with_small_tmp: SshHost, reach: Reach, tmp_path: Path
) -> None:
    host = host_with_small_tmp
    host.root("echo old > /tmp/kept; chown engine /tmp/kept; cat /dev/zero > /tmp/full || true")
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    with connect(reach(host)) as connection:
        result = connection.run(
            'printf %s "$VALUE"; read -r line <<<"$VALUE"', variables={"VALUE": "v" * 100_000}
        )
        assert result.stdout == b"v" * 100_000
        for destination in ("/tmp/kept", "/tmp/new"):
            with pytest.raises(TransferFailed, match="free space"):
                connection.put(tmp_path / "big", destination)
        assert connection.run("cat /tmp/kept; ls -A /tmp").stdout == b"old\nfull\nkept\n"
        large = "true\n" * 200_000 + "echo end of a large script"
        assert connection.run(large).stdout == b"end of a large script\n"


def test_a_full_disk_does_not_hide_what_became_of_a_command(
    host_with_small_tmp: SshHost, reach: Reach
) -> None:
    host = host_with_small_tmp
    host.root("cat /dev/zero > /tmp/full || true")
    with Proxy(host.address, host.port) as proxy, ThreadPoolExecutor(1) as pool:
        through = dataclasses.replace(reach(host), host="127.0.0.1", port=proxy.port)
        with connect(through) as connection:
            running = pool.submit(connection.run, f"echo begin >>{_WITNESS}; sleep 2; exit 5", timeout=60)
            _wait_for_witness(host)
            proxy.links[0].strike("cut")
            with pytest.raises(OutputLost) as caught:
                running.result(60)
    assert caught.value.exit_code == 5


def _wait_for_witness(host: SshHost) -> None:
    until = time.monotonic() + 30
    while _witnessed(host) != "begin\n":
        assert time.monotonic() < until
        time.sleep(0.05)


class _Sleeper:
    """A command that is still running when the host goes."""

    def __init__(self, host: SshHost, reach: Reach) -> None:
        self.error: Exception | None = None
        self._target = reach(host)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        _wait_for_witness(host)

    def _run(self) -> None:
        try:
            with connect(self._target, deadlines=Deadlines(settle=2.0)) as connection:
                connection.run(f"echo begin >>{_WITNESS}; sleep 300; echo end >>{_WITNESS}", timeout=60)
        except TransportError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(90)
        assert not self._thread.is_alive()


@pytest.mark.parametrize(
    "way", [("restart", "--time", "30"), ("restart", "--time", "0")], ids=["orderly", "power"]
)
def test_a_host_that_reboots_under_a_command_leaves_its_outcome_unknown(
    host: SshHost, reach: Reach, way: tuple[str, ...]
) -> None:
    command = _Sleeper(host, reach)
    _docker(*way, host.container)
    command.join()
    assert isinstance(command.error, OutcomeUnknown), command.error
    again = _again(host, reach)
    until = time.monotonic() + 60
    while True:
        try:
            with connect(again) as connection:
                assert connection.run(f"cat {_WITNESS}").stdout == b"begin\n"
            return
        except TransportError:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_a_host_that_freezes_under_a_command_is_given_up_and_reached_again(
    host: SshHost, reach: Reach
) -> None:
    with connect(reach(host), deadlines=Deadlines(connect=2)) as connection:
        connection.facts()
        _docker("pause", host.container)
        try:
            with pytest.raises((NotSent, CommandTimeout)) as caught:
                connection.run("echo never seen", timeout=2)
            assert not getattr(caught.value, "killed", False)
        finally:
            _docker("unpause", host.container)
    with connect(reach(host)) as connection:
        assert connection.run("echo next").stdout == b"next\n"
