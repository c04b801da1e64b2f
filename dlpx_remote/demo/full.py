"""The whole tour: a database is linked, synced and cloned; clones go forward and back, then all of it goes.

All of it is on this machine: the source, its staging, the clones, and the engine with its storage. PostgreSQL
does not run as root, so where root plays the tour, the environment user is ``postgres``, who becomes root for
mounting by logging in to the demo's own SSH server once more.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dlpx_remote.demo import loopback
from dlpx_remote.demo.host import DemoHosts, DemoUnavailable, Keeping, make_key
from dlpx_remote.demo.share import shared
from dlpx_remote.demo.source import Source, account, source

Say = Callable[[str], None]
Run = Callable[[Sequence[str]], int]

_MORE = 1_000


class _Failed(Exception):
    """A command of the tour ended with another exit code than zero."""


@dataclass
class _Stage:
    """Where the tour is played.

    Attributes:
        directory: everything is below it.
        timed: what was done, and how many seconds it took.
    """

    directory: Path
    database: Source
    run: Run
    say: Say
    timed: list[tuple[str, float]] = field(default_factory=list)

    def command(self, *words: str, what: str = "") -> None:
        """Show a command, carry it out, and note how long it took if ``what`` names it."""
        self.say("")
        self.say(f"$ dlpx-remote {shlex.join(words)}")
        began = time.monotonic()
        code = self.run(words)
        if what:
            self.timed.append((what, time.monotonic() - began))
        if code:
            raise _Failed(code)

    def rows(self, name: str) -> None:
        """Show what the source or a clone holds."""
        if name == "source":
            place, port = self.database.data.parent, self.database.port
        else:
            lines = (self.directory / "vdbs" / name / "data/postmaster.pid").read_text().splitlines()
            place, port = Path(lines[4]), int(lines[3])
        count, card = self.database.ask(place, port, "SELECT count(*), min(card) FROM entries").split("|")
        self.say(f"  {name}: {count} entries, card {card}")


def play(directory: Path, install_missing: bool, run: Run, say: Say) -> int:
    """Play it.

    Args:
        directory: an empty directory that others may pass through.
        install_missing: install OpenSSH's server where it is missing.
        run: runs one command line and returns its exit code.
        say: prints one line for people.

    Returns:
        0 when every command succeeded, else the exit code of the one that did not.

    Raises:
        DemoUnavailable: it cannot be played here.
    """
    owner = account()
    _require_mounting()
    sshd = loopback.require_sshd(install_missing, "", say)
    with ExitStack() as stack:
        say("Making a PostgreSQL source and an SSH server on this machine …")
        database = stack.enter_context(source(directory / "source", owner))
        place = directory / "hosts"
        place.mkdir(mode=0o711)
        hosts = stack.enter_context(loopback.loopback_hosts(1, place, Keeping(False), sshd, owner))
        for name in ("staging", "vdbs", "host"):
            (directory / name).mkdir()
            os.chown(directory / name, owner.pw_uid, owner.pw_gid)
        stage = _Stage(directory, database, run, say)
        stack.enter_context(_cleared(directory))
        began = time.monotonic()
        try:
            _prepare(stage, hosts)
            _tour(stage)
        except _Failed as failed:
            return int(failed.args[0])
        say("")
        for what, seconds in stage.timed:
            say(f"{what:<46} {seconds:6.1f} s")
        say(f"{'all of it':<46} {time.monotonic() - began:6.1f} s")
        say("")
        say("Everything that the demo made is being removed.")
    return 0


def _prepare(stage: _Stage, hosts: DemoHosts) -> None:
    (host,) = hosts.hosts
    stage.say(f"Made: {hosts.what}; a source on port {stage.database.port} with a table of card numbers.")
    stage.command(
        *("env", "add", "here", "--host", host.address, "--port", str(host.port), "--user", host.user),
        *("--key", str(hosts.key), "--fingerprint", host.fingerprint),
        *("--directory", str(stage.directory / "host"), "--privilege", _privilege(stage, hosts)),
    )
    stage.command("plugin", "add", str(shared("examples") / "postgres"))
    stage.command("discover", what="discover")
    stage.command("storage", "init", str(stage.directory / "pool"))


def _tour(stage: _Stage) -> None:
    database = stage.database
    parameters = [
        f"stagingPath={stage.directory}/staging/shop",
        "sourceUser=replicator",
        f"password=file:{database.password_file}",
        "sourceHost=127.0.0.1",
        f"sourcePort={database.port}",
    ]
    stage.command(
        *(
            "dsource",
            "link",
            "shop",
            "-e",
            "here",
            "--source-config",
            str(database.data),
            "--staging",
            "here",
        ),
        *(word for parameter in parameters for word in ("--param", parameter)),
    )
    stage.command("dsource", "sync", "shop", what="first sync: a base backup, a standby, a snapshot")
    database.enter(_MORE)
    stage.say("")
    stage.say(f"{_MORE} more entries have been written to the source.")
    stage.command("dsource", "sync", "shop", what="second sync: the standby catches up, a snapshot")
    stage.command("snapshot", "list", "shop")
    mask = shared("examples") / "postgres/hooks/mask-cards.sh"
    for name, origin, hooks in (
        ("early", "SNAPSHOT-1", []),
        ("masked", "shop", ["--hook", f"configure-clone={mask}"]),
    ):
        port = loopback.free_port("127.0.0.1")
        stage.command(
            *("vdb", "provision", name, "--from", origin, "-e", "here", *hooks),
            *("--param", f"mountPath={stage.directory}/vdbs/{name}"),
            *("--param", f"port={port}", "--param", f"instanceName={name}"),
            what=f"provision {name}: clone, mount, recover, answer",
        )
    for name in ("source", "early", "masked"):
        stage.rows(name)
    stage.command("vdb", "refresh", "early", "--from", "shop", what="refresh early with the newest snapshot")
    stage.rows("early")
    stage.command("vdb", "undo", "early", what="undo that")
    stage.rows("early")
    stage.command("vdb", "disable", "masked", what="disable masked")
    stage.command("vdb", "enable", "masked", what="enable masked")
    stage.rows("masked")
    for name in ("early", "masked"):
        stage.command("vdb", "delete", name, what=f"delete {name}")
    stage.command("dsource", "delete", "shop", what="delete the dSource")


def _require_mounting() -> None:
    if os.geteuid() == 0:
        return
    done = (
        subprocess.run(
            ["sudo", "-n", "mount", "--version"], capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
        if shutil.which("sudo")
        else None
    )
    if done is None or done.returncode:
        raise DemoUnavailable(
            "The whole tour mounts what it clones, and you may not mount by sudo without a password.",
            "Run it as root, or allow it; without --full nothing is mounted.",
        )


def _privilege(stage: _Stage, hosts: DemoHosts) -> str:
    """How the environment user becomes root."""
    if os.geteuid():
        return "sudo"
    (host,) = hosts.hosts
    key = stage.directory / "hosts" / "root_key"
    public = make_key(key)
    owner = stage.database.account
    os.chown(key, owner.pw_uid, owner.pw_gid)
    with (stage.directory / "hosts" / "authorized_keys").open("a") as authorized:
        authorized.write(f"{public}\n")
    become = stage.directory / "become"
    known = stage.directory / "known_hosts"
    host_key = (stage.directory / "hosts" / "host1" / "host_key.pub").read_text().strip()
    known.write_text(f"[{host.address}]:{host.port} {host_key}\n")
    become.write_text(
        f"#!/bin/bash\nexec ssh -qF /dev/null -i {key} -p {host.port} -o UserKnownHostsFile={known} "
        f'root@{host.address} "$(printf \'%q \' "$@")"\n'
    )
    for path, mode in ((known, 0o644), (become, 0o755)):
        path.chmod(mode)
    return f"command:{become}"


@contextmanager
def _cleared(directory: Path) -> Iterator[None]:
    """At the end no server works and nothing is mounted below the directory, however far the tour came."""
    try:
        yield
    finally:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ProcessLookupError):
                if (process / "cwd").readlink().is_relative_to(directory / "vdbs") or (
                    process / "cwd"
                ).readlink().is_relative_to(directory / "staging"):
                    os.kill(int(process.name), signal.SIGQUIT)
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        become_root = ["sudo", "-n"] if os.geteuid() else []
        for point in sorted((p for p in points if p.startswith(f"{directory}/")), reverse=True):
            subprocess.run([*become_root, "umount", "--lazy", point], check=False)
