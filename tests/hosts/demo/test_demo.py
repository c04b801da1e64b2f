"""The demo as people run it: a process of its own, real hosts, and nothing left behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlpx_remote.demo.loopback import find_sshd
from tests.hosts.docker_engine import DockerEngine

_LIMIT = 200


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the demo makes its temporary directory.

    Others must be able to pass through it, which pytest's own directories do not allow for long: each run of
    pytest closes them again.
    """
    with tempfile.TemporaryDirectory(prefix="dlpx-demo-test-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@contextmanager
def _demo(place: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "TMPDIR": str(place), "DLPX_REMOTE_STATE": str(place / "not-touched")}
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from dlpx_remote.cli import main; raise SystemExit(main())",
            "demo",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _processes_below(place: Path) -> list[str]:
    """Command lines that name the directory; pytest's own do not."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(place) in command:
            found.append(command)
    return found


def _assert_nothing_left(place: Path) -> None:
    assert _processes_below(place) == []
    assert list(place.iterdir()) == []


def test_on_loopback_it_discovers_and_leaves_nothing(place: Path) -> None:
    assert find_sshd() is not None, "OpenSSH's server is needed: apt-get install openssh-server"

    with _demo(place, "--loopback", "--hosts", "2") as process:
        output, _ = process.communicate(timeout=_LIMIT)

    assert process.returncode == 0, output
    assert "$ dlpx-remote env add demo2 --host 127.0.0.1" in output
    assert "$ dlpx-remote env test demo1" in output
    assert "$ dlpx-remote discover" in output
    assert len(re.findall(r"Uploads of the shop +new", output)) == 2
    assert "2 environments, 2 plugins:" in output
    _assert_nothing_left(place)


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("Made for this demo", signal.SIGTERM, 143),
        ("$ dlpx-remote env test", signal.SIGINT, 130),
        ("$ dlpx-remote discover", signal.SIGHUP, 129),
    ],
)
def test_asked_to_end_it_removes_everything_first(
    moment: str, number: signal.Signals, code: int, place: Path
) -> None:
    with _demo(place, "--loopback") as process:
        assert process.stdout is not None
        seen = ""
        while moment not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        process.send_signal(number)
        rest, _ = process.communicate(timeout=_LIMIT)

    assert process.returncode == code, seen + rest
    assert "Traceback" not in rest
    _assert_nothing_left(place)


def test_kept_hosts_are_removed_by_the_commands_that_it_prints(place: Path) -> None:
    with _demo(place, "--loopback", "--keep") as process:
        output, _ = process.communicate(timeout=_LIMIT)

    assert process.returncode == 0, output
    assert _processes_below(place) != []
    commands = output.partition("To remove them:\n")[2]
    # The database server gets a moment to write its state before its directory goes.
    subprocess.run(["sh", "-ec", commands.replace("rm -r", "sleep 1; rm -r")], check=True, timeout=60)
    _assert_nothing_left(place)


@pytest.mark.slow
def test_the_whole_tour_shows_a_database_s_life_and_leaves_nothing(place: Path) -> None:
    with _demo(place, "--full") as process:
        output, _ = process.communicate(timeout=_LIMIT)

    assert process.returncode == 0, output
    for shown in (
        "source: 51000 entries, card 4111 1111 1111 1111",
        "early: 50000 entries, card 4111 1111 1111 1111",
        "masked: 51000 entries, card xxxx xxxx xxxx 1111",
    ):
        assert shown in output
    assert re.search(r"provision masked: .* \d+\.\d s", output)
    _assert_nothing_left(place)
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


def test_the_whole_tour_asked_to_end_takes_down_servers_and_mounts(place: Path) -> None:
    with _demo(place, "--full") as process:
        assert process.stdout is not None
        seen = ""
        while "snapshot VDB-1 as" not in seen:  # staging and a VDB run, and all of it is mounted
            line = process.stdout.readline()
            assert line, seen
            seen += line
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=_LIMIT)

    assert process.returncode == 143, seen + rest
    _assert_nothing_left(place)
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.slow
def test_in_containers_it_finds_every_cluster_of_each(place: Path, engine_of_docker: DockerEngine) -> None:
    before = _containers(engine_of_docker)

    with _demo(place) as process:
        output, _ = process.communicate(timeout=_LIMIT)

    assert process.returncode == 0, output
    assert "Made for this demo: 3 containers" in output
    for name in ("15/main", "15/archive", "/srv/order data/15", "Uploads of the shop"):
        assert len(re.findall(rf" {re.escape(name)} +new", output)) == 3, output
    assert _containers(engine_of_docker) <= before
    _assert_nothing_left(place)


def _containers(engine: DockerEngine) -> set[str]:
    docker = ["docker", "--host", engine.url] if engine.url else ["docker"]
    done = subprocess.run(
        [*docker, "ps", "--all", "--format", "{{.Names}}", "--filter", "name=dlpx-remote-demo-"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())
