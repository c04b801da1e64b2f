"""A virtual test host: started in seconds from the image of :mod:`build`, with a fresh disk every time.

It is reached over SSH on a port of loopback, and by its owner through a virtual serial port, which works
without any network. It reaches the machine it runs on as :data:`GATEWAY`; servers there see its connections
come from 127.0.0.1 and from a port above 1023. Nothing outlives the process that started it: Linux itself
ends the virtual machine when that process ends, however it ends. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..ssh.build import Log, print_progress  # noqa: TID252 - see build
from . import build

ADDRESS = "127.0.0.1"
"""Where the machine's SSH answers."""
GATEWAY = "10.0.2.2"
"""Under which address the machine reaches this one's loopback."""

_START_LIMIT = 120.0
_STOP_LIMIT = 10.0
_ANSWER_LIMIT = 10.0
_KVM_PATIENCE = 4.0
_FIRST_WORDS = "booting"  # files/ramdisk prints it
_KERNEL = "console=ttyS0 root=/dev/vda panic=-1 quiet mitigations=off"
# What takes long to emulate and is of no use here. The clock is the chip set's timer, whose place ACPI would
# tell. Where this machine is busy, the kernel measures the processor's speed wrongly, or counts ticks, which
# fall behind and then run after: with such a clock, time-outs of ten seconds may be over in one.
_KERNEL_EMULATED = "acpi=off noapic pmtmr=0x608 tsc=unstable"


class VmError(Exception):
    """The machine cannot be started or does not answer; the text says why, with its last words."""


class VmScriptFailed(VmError):
    """A script of the owner's ended with another exit code than 0.

    Attributes:
        exit_code: of the script.
        stderr: what it said.
    """

    def __init__(self, script: str, exit_code: int, stderr: str) -> None:
        super().__init__(f"exit {exit_code} from {script!r}: {stderr}")
        self.exit_code = exit_code
        self.stderr = stderr


@dataclass(frozen=True)
class NetworkEnd:
    """One of the two ends of a network between two machines; see :func:`private_network`.

    Attributes:
        address: of the machine at this end.
        socket: the wire.
    """

    address: str
    socket: socket.socket


def private_network() -> tuple[NetworkEnd, NetworkEnd]:
    """A network between two machines, apart from all others: 10.0.9.1 and 10.0.9.2."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return NetworkEnd("10.0.9.1", one), NetworkEnd("10.0.9.2", other)


class NfsVm:
    """A virtual machine; a context manager that starts and stops it.

    Args:
        memory: in MiB. PostgreSQL and the NFS server are content with the default.
        forward: ports of the machine, besides SSH's, that this machine's loopback shall forward to.
        network: an end of a network to another machine.
        log: takes lines of progress, while the image is being built.
    """

    address = ADDRESS
    gateway = GATEWAY

    def __init__(
        self,
        *,
        memory: int = 384,
        forward: tuple[int, ...] = (),
        network: NetworkEnd | None = None,
        log: Log = print_progress,
    ) -> None:
        self._memory = memory
        self._forward = (22, *forward)
        self._network = network
        self._log = log
        self._machine: _Machine | None = None

    def start(self) -> Self:
        """Start with a fresh disk, and return when SSH answers.

        Raises:
            ImageError: the image could not be built.
            VmError: QEMU is missing, or the machine does not come up.
        """
        if self._machine is not None:
            raise VmError("The virtual machine is running already.")
        image = build.build(self._log)
        if shutil.which("qemu-system-x86_64") is None:
            raise VmError("qemu-system-x86_64 is missing. On Debian: apt-get install qemu-system-x86")
        for accelerator in ("kvm", "tcg") if _kvm_may_work() else ("tcg",):
            machine = _Machine(self._command(image, accelerator), self._network)
            try:
                if accelerator == "kvm":
                    machine.wait_for_words(_FIRST_WORDS, _KVM_PATIENCE)
                machine.wait_until_ready(_START_LIMIT)
                machine.find_ports()
            except VmError:
                machine.end()
                if accelerator == "tcg":
                    raise
                _remember_that_kvm_does_not_work()
            except BaseException:
                machine.end()
                raise
            else:
                self._machine = machine
                break
        return self

    def stop(self) -> None:
        """Cut the power: the machine and its disk are gone at once. Idempotent."""
        machine, self._machine = self._machine, None
        if machine is not None:
            machine.end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ssh_port(self) -> int:
        """Where SSH answers on :attr:`address`."""
        return self.forwarded(22)

    def forwarded(self, port: int) -> int:
        """The port of loopback that leads to this ``port`` of the machine."""
        return self._running.ports[port]

    @property
    def console(self) -> str:
        """What the machine has printed since it was started."""
        return "" if self._machine is None else self._machine.console

    @property
    def pid(self) -> int:
        """Of the emulator."""
        return self._running.pid

    def root(self, script: str, timeout: float = 60.0) -> str:
        """Run a bash script (``set -e``) as root, not over the network; its stdout.

        Several threads may call at the same time; their scripts run side by side.

        Args:
            script: any text without a NUL byte.
            timeout: in seconds. The script itself goes on when it is over.

        Raises:
            VmScriptFailed: it ended with another exit code than 0.
            VmError: no answer in time.
        """
        exit_code, stdout, stderr = self._running.run(f"set -e\n{script}\n", timeout)
        if exit_code:
            raise VmScriptFailed(script, exit_code, stderr)
        return stdout

    def admit(self, passwords: Mapping[str, str], keys: Mapping[str, str]) -> None:
        """Let users in: the same users, in the same way as into the containers of ``containers/ssh``.

        Args:
            passwords: password by user.
            keys: public key, as in ``authorized_keys``, by user.
        """
        lines = [f"password {user} {password}\n" for user, password in passwords.items()]
        lines += [f"key {user} {key.strip()}\n" for user, key in keys.items()]
        self.root(f"admit <<'END'\n{''.join(lines)}END\nsync")

    def host_key(self) -> str:
        """The public Ed25519 host key (``ssh-ed25519 AAAA…``); it stays the same over a reboot."""
        return " ".join(self.root("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])

    def reboot(self) -> None:
        """Press the reset button, and return when SSH answers again. The disk stays as it is."""
        self.reset()
        self._running.wait_until_ready(_START_LIMIT)

    def reset(self) -> None:
        """Press the reset button, without waiting for anything."""
        self._running.expect_to_be_ready_again()
        self._running.command("system_reset")

    def freeze(self) -> None:
        """Stop the machine's processor until :meth:`thaw`: a host that answers nothing at all."""
        self._running.command("stop")

    def thaw(self) -> None:
        """Let the machine go on."""
        self._running.command("cont")

    def cut_network(self) -> None:
        """Pull the cable to this machine: connections stay open, and nothing gets through."""
        self._running.command("set_link", name="net0", up=False)

    def restore_network(self) -> None:
        """Put the cable back."""
        self._running.command("set_link", name="net0", up=True)

    @property
    def _running(self) -> _Machine:
        if self._machine is None:
            raise VmError("The virtual machine is not running.")
        return self._machine

    def _command(self, image: build.Image, accelerator: str) -> list[str]:
        emulated = accelerator == "tcg"
        kernel = f"{_KERNEL} {_KERNEL_EMULATED}" if emulated else _KERNEL
        forwards = "".join(f",hostfwd=tcp:{ADDRESS}:0-:{port}" for port in self._forward)
        command = [
            "qemu-system-x86_64",
            *("-accel", accelerator, "-cpu", "max,pmu=off" if emulated else "host"),
            *("-m", str(self._memory), "-smp", "1"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"),
            *("-kernel", str(image.kernel), "-initrd", str(image.ramdisk)),
            *("-drive", f"file={image.disk},if=virtio,format=raw,snapshot=on"),
            *("-netdev", f"user,id=net0,ipv6=off{forwards}"),
            *("-device", "virtio-net-pci,netdev=net0,romfile="),
            *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=owner,name=owner"),
        ]
        if self._network is not None:
            last = self._network.address.rpartition(".")[2]
            kernel += f" dlpx.lan={self._network.address}/24"
            wire = self._network.socket.fileno()
            command += ["-netdev", f"dgram,id=net1,local.type=fd,local.str={wire}"]
            command += ["-device", f"virtio-net-pci,netdev=net1,romfile=,mac=52:54:00:12:35:0{last}"]
        return [*command, "-append", kernel]


class _Machine:
    """A running emulator: its process, its console, its control channel and the owner's channel."""

    def __init__(self, command: list[str], network: NetworkEnd | None) -> None:
        self._control, control = socket.socketpair()
        self._owner, owner = socket.socketpair()
        self._changed = threading.Condition()
        self._words = bytearray()
        self._ready = False
        self._ended = False
        self._answers: dict[str, tuple[int, str, str]] = {}
        self._number = 0
        self._control_lock = threading.Lock()
        self._control_file = self._control.makefile("rb")
        self._owner_lock = threading.Lock()
        self.ports: dict[int, int] = {}
        command = [
            # The kernel ends it when the thread that started it ends, which is _keep: with this process.
            # A process that ended before it could ask for that is told by the parent's number.
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid()), *command),
            *("-chardev", f"socket,id=control,fd={control.fileno()}", "-mon", "chardev=control,mode=control"),
            *("-chardev", f"socket,id=owner,fd={owner.fileno()}"),
        ]
        passed = [control.fileno(), owner.fileno(), *([network.socket.fileno()] if network else [])]
        started: queue.Queue[subprocess.Popen[bytes] | OSError] = queue.Queue()
        self._keeper = threading.Thread(
            target=self._keep, args=(command, passed, started), name="nfs-vm", daemon=True
        )
        self._keeper.start()
        process = started.get()
        control.close()
        owner.close()
        self._listener = threading.Thread(target=self._listen, name="nfs-vm-owner", daemon=True)
        self._listener.start()
        if isinstance(process, OSError):
            self._ended = True
            self.end()
            raise VmError(f"The virtual machine cannot be started: {process}")
        self._process = process
        self.pid = process.pid

    @property
    def console(self) -> str:
        with self._changed:
            return self._words.decode(errors="replace")

    def wait_for_words(self, words: str, limit: float) -> None:
        self._wait(lambda: words.encode() in self._words, limit, "said nothing")

    def expect_to_be_ready_again(self) -> None:
        with self._changed:
            self._ready = False

    def wait_until_ready(self, limit: float) -> None:
        self._wait(lambda: self._ready, limit, "did not come up")

    def find_ports(self) -> None:
        """Ask for the forwarded ports, which were free ones of the system's choice."""
        self.command("qmp_capabilities")
        table = self.command("human-monitor-command", **{"command-line": "info usernet"})
        pattern = r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)"
        self.ports = {int(inside): int(outside) for outside, inside in re.findall(pattern, str(table))}

    def command(self, name: str, /, **arguments: Any) -> Any:
        """Give the emulator a command (QEMU Machine Protocol); what it returns."""
        message = json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"
        with self._control_lock:
            try:
                self._control.settimeout(_ANSWER_LIMIT)
                self._control.sendall(message)
                while line := self._control_file.readline():
                    answer = json.loads(line)
                    if "return" in answer:
                        return answer["return"]
                    if "error" in answer:
                        raise VmError(f"The virtual machine refused {name}: {answer['error']['desc']}")
            except OSError as error:
                raise VmError(f"The virtual machine does not answer to {name}: {error}") from error
        raise VmError(self._sentence(f"ended before {name}"))

    def run(self, script: str, timeout: float) -> tuple[int, str, str]:
        """A script as root: exit code, stdout, stderr."""
        with self._owner_lock:
            self._number += 1
            number = f"{os.getpid()}-{self._number}"
            try:
                self._owner.sendall(json.dumps([number, script]).encode() + b"\n")
            except OSError as error:
                raise VmError(self._sentence(f"takes no script ({error})")) from error
        self._wait(lambda: number in self._answers, timeout, f"did not answer to {script!r}")
        with self._changed:
            exit_code, stdout, stderr = self._answers.pop(number)
        return exit_code, _decoded(stdout), _decoded(stderr)

    def end(self) -> None:
        """Kill the emulator and wait until it is gone. Idempotent."""
        if not self._ended:
            self._process.kill()
        self._keeper.join(_STOP_LIMIT)
        for end in (self._control, self._owner):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.join(_STOP_LIMIT)
        self._control_file.close()
        self._control.close()
        self._owner.close()

    def _wait(self, holds: Callable[[], bool], limit: float, complaint: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: holds() or self._ended, limit)
            if holds():
                return
        raise VmError(self._sentence("ended" if self._ended else f"{complaint} within {limit:.0f} s"))

    def _sentence(self, what: str) -> str:
        last = "\n".join(self.console.strip().splitlines()[-15:])
        return f"The virtual machine {what}. Its last words:\n{last}"

    def _keep(
        self, command: list[str], passed: list[int], started: queue.Queue[subprocess.Popen[bytes] | OSError]
    ) -> None:
        """Start the process and take what it prints, until it ends."""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=passed,
                start_new_session=True,  # Ctrl-C is for the tests, which end the machine themselves
            )
        except OSError as error:
            started.put(error)
            return
        started.put(process)
        with process:
            assert process.stdout is not None
            while words := os.read(process.stdout.fileno(), 65536):
                with self._changed:
                    self._words += words
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _listen(self) -> None:
        """Take what the machine answers to its owner; see ``files/agent``."""
        with contextlib.suppress(OSError), self._owner.makefile("r", errors="replace") as lines:
            for line in lines:
                try:
                    answer = json.loads(line)
                except ValueError:
                    continue  # what a reset cut off
                with self._changed:
                    if answer == "ready":
                        self._ready = True
                    else:
                        number, exit_code, stdout, stderr = answer
                        self._answers[number] = exit_code, stdout, stderr
                    self._changed.notify_all()


def _decoded(text: str) -> str:
    return text.encode("latin-1").decode(errors="surrogateescape")


def _kvm_may_work() -> bool:
    """Whether hardware virtualization is there, and has not failed since this machine started."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    note = _kvm_note()
    return not (note.is_file() and note.read_text() == _boot())


def _remember_that_kvm_does_not_work() -> None:
    # Under some hypervisors /dev/kvm is there and a machine started with it never does anything.
    _kvm_note().write_text(_boot())


def _kvm_note() -> Path:
    return build.cache_directory() / "nfs-vm" / "kvm-failed-since-boot"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
