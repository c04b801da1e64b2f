"""Hosts that a test has for itself, besides an SSH server on loopback: a Windows stand-in, a virtual machine.

What they are made of is shipped with the package, so that they work wherever it is installed.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlpx_remote.demo.containers import containers
from dlpx_remote.demo.host import DemoUnavailable, Keeping, fingerprint, make_key
from dlpx_remote.demo.share import virtual_machines, windows_hosts
from dlpx_remote.engine import (
    Authentication,
    Engine,
    EnvironmentSpec,
    HostType,
    InvalidRequest,
    SecretReference,
    WindowsAccess,
)
from dlpx_remote.engine_mounts import HostChoice
from dlpx_remote.transports.winrm.bootstrap import read_frame

_ADDRESS = "127.0.0.1"
_ADMINISTRATOR = "Administrator"
_HOME = f"C:\\Users\\{_ADMINISTRATOR}"
_FACTS = (
    "operating_system=Windows Server 2022 Datacenter",
    "kernel=Windows 10.0.20348",
    "architecture=AMD64",
    "hostname=WINHOST",
    f"user=WINHOST\\{_ADMINISTRATOR}",
    f"home={_HOME}",
    "shell=PowerShell 5.1.20348.2849",
)


class WindowsHost:
    """A stand-in for a Windows host: WinRM with NTLM, whose scripts answer as a test says.

    It is no Windows. A script that no answer was given for runs in ``pwsh`` where that is on PATH, else it
    ends with 9009.

    Attributes:
        spec: how to reach it, for :meth:`Engine.add_environment`.
    """

    def __init__(self, spec: EnvironmentSpec, host: Any, responder: Any) -> None:
        self.spec = spec
        self._host = host
        self._responder = responder

    def when(
        self,
        pattern: str,
        stdout: str = "",
        *,
        stderr: str = "",
        exit_code: int = 0,
        times: int | None = None,
    ) -> None:
        """Say what a script does; the last answer that fits is taken.

        Args:
            pattern: regular expression, searched in the script's text.
            stdout, stderr: what it writes.
            exit_code: how it ends.
            times: for how many scripts; None for all.
        """
        reply = self._responder.Reply(stdout=stdout, stderr=stderr, exit_code=exit_code)
        self._host.when(pattern, reply, times=times)

    def trouble(self, kind: str, action: str = "*", **details: Any) -> None:
        """Let something go wrong on the way, such as ``trouble("cut-after", "Command")``.

        Args:
            kind: one of those in the responder's ``KINDS``.
            action: which requests: Create, Command, Send, Receive, Signal, Delete, ``*``.
            details: such as ``after`` and ``times``; see the responder's ``Trouble``.
        """
        self._host.trouble(kind, action, **details)

    def answers(self, file: Path) -> None:
        """Take the answers in a file: a JSON list of objects with the arguments of :meth:`when`.

        Raises:
            InvalidRequest: it cannot be read, or is no such list.
        """
        try:
            for one in json.loads(file.read_text(encoding="utf-8")):
                self.when(**one)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidRequest(
                f"The answers in {file} cannot be used: {error}.",
                'Write a JSON list such as [{"pattern": "Get-Service", "stdout": "Running"}].',
            ) from error


class NfsHost:
    """A virtual machine with a kernel of its own, which mounts over NFS, can be rebooted and cut off.

    Attributes:
        spec: how to reach it over SSH, for :meth:`Engine.add_environment`.
        machine: the machine itself: ``root(script)``, ``reboot()``, ``cut_network()``, ``restore_network()``,
            ``freeze()``, ``thaw()``.
    """

    def __init__(self, spec: EnvironmentSpec, machine: Any) -> None:
        self.spec = spec
        self.machine = machine

    def root(self, script: str) -> str:
        """Run a Bash script on it as root, not over the network; its stdout."""
        return str(self.machine.root(script))

    def reboot(self) -> None:
        """Press the reset button, and wait until SSH answers again."""
        self.machine.reboot()

    def join(self, engine: Engine) -> None:
        """Add it to an engine, with the addresses under which it and the NFS server see each other."""
        added = engine.add_environment(self.spec)
        # The emulator carries its connections: they come from this machine's own loopback.
        engine.mounts.nfs.configure_host(added, HostChoice(self.machine.gateway, (_ADDRESS,), ()))


@contextmanager
def windows_host(answers: Path | None = None) -> Iterator[WindowsHost]:
    """A stand-in for a Windows host, in this process, for the ``with`` block.

    Args:
        answers: see :meth:`WindowsHost.answers`.
    """
    responder = windows_hosts()
    password = secrets.token_urlsafe(18)
    with tempfile.TemporaryDirectory(prefix="dlpx-remote-windows-") as place:
        file = Path(place) / "password"
        file.touch(mode=0o600)
        file.write_text(password)

        def decode(_bootstrap: str, stdin: bytes) -> Any:
            token, script, variables = read_frame(stdin)
            values = {name: value.decode() for name, value in variables.items()}
            return responder.Payload(script.decode(), values, f"{token}\n".encode())

        with responder.WinRMHost({_ADMINISTRATOR: password}, decoder=decode) as host:
            host.when("CurrentVersion", responder.Reply(stdout="\r\n".join([*_FACTS, ""])))
            host.when("function Make", _directories(responder))
            host.when("DLPX_PATHS", responder.Reply())
            spec = EnvironmentSpec(
                name="throw-away-windows",
                host=_ADDRESS,
                port=host.port,
                user=_ADMINISTRATOR,
                host_type=HostType.WINDOWS,
                authentication=Authentication(password_from=SecretReference("file", str(file))),
                windows=WindowsAccess("http"),  # NTLM encrypts the messages
            )
            made = WindowsHost(spec, host, responder)
            if answers is not None:
                made.answers(answers)
            yield made


def _directories(responder: Any) -> Any:
    """The engine's own directories, which its script makes there."""

    def answer(invocation: Any) -> Any:
        root = invocation.variables.get("DLPX_ROOT") or f"{_HOME}\\.dlpx-remote"
        return responder.Reply(stdout="\r\n".join([root, root, f"{root}\\scratch", ""]))

    return answer


@contextmanager
def nfs_host() -> Iterator[NfsHost]:
    """A virtual machine for the ``with`` block. The first one builds the image, which takes about a minute.

    Raises:
        DemoUnavailable: QEMU or debootstrap is missing, or it does not come up; says what to do.
    """
    vm = virtual_machines()
    with tempfile.TemporaryDirectory(prefix="dlpx-remote-vm-") as place:
        key = Path(place) / "key"
        public = make_key(key)
        machine = vm.NfsVm()
        try:
            machine.start()
        except (vm.VmError, vm.build.ImageError) as error:
            raise DemoUnavailable(
                f"The virtual machine for tests cannot be used: {error}",
                "It needs qemu-system-x86, debootstrap and, for building its image once, root "
                "(Debian: apt-get install qemu-system-x86 debootstrap).",
            ) from error
        try:
            machine.admit({}, {"engine": public})
            spec = EnvironmentSpec(
                name="nfs-host",
                host=machine.address,
                port=machine.ssh_port,
                user="engine",
                authentication=Authentication(key=str(key)),
                fingerprint=fingerprint(machine.host_key()),
            )
            yield NfsHost(spec, machine)
        finally:
            machine.stop()


@contextmanager
def container_host() -> Iterator[EnvironmentSpec]:
    """A container of ``containers/ssh`` for the ``with`` block; the first one builds the image.

    It has PostgreSQL with three clusters, rsync, expect and jq.

    Raises:
        DemoUnavailable: no Docker engine answers, or the container does not come up.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dlpx-remote-container-") as place,
        containers(1, Path(place), Keeping(wanted=False), lambda _: None) as made,
    ):
        (host,) = made.hosts
        yield EnvironmentSpec(
            name="container",
            host=host.address,
            port=host.port,
            user=host.user,
            authentication=Authentication(key=str(made.key)),
            fingerprint=host.fingerprint,
        )
