"""A throw-away host without containers: an ``sshd`` of our own on loopback, as the current user.

It takes one key that was made for it, listens on 127.0.0.1 on a port that was free, and reads no
configuration of the system's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dlpx_remote.demo.host import (
    MAKE_TREES,
    DemoHost,
    DemoHosts,
    DemoUnavailable,
    Keeping,
    fingerprint,
    make_key,
)

_ADDRESS = "127.0.0.1"
_START_LIMIT = 10.0
_ATTEMPTS = 5
_SYSTEM_PLACES = "/usr/sbin:/usr/local/sbin:/sbin:/usr/lib/ssh"

Say = Callable[[str], None]


def find_sshd() -> Path | None:
    """OpenSSH's server; it is seldom on an ordinary user's PATH."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PLACES}")
    return Path(found) if found else None


def install_sshd(say: Say) -> None:
    """Install OpenSSH's server with the system's package manager, without starting the system's service.

    Raises:
        DemoUnavailable: not root, no apt-get, or apt-get failed.
    """
    apt = shutil.which("apt-get")
    if os.geteuid() != 0 or apt is None:
        raise _missing("--install-missing works as root on Debian and Ubuntu only.")
    say("Installing openssh-server with apt-get …")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "openssh-server"]):
            done = subprocess.run(
                [apt, "--quiet", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                check=False,
            )
            if done.returncode:
                raise DemoUnavailable(
                    f"apt-get {arguments[0]} failed.",
                    "Install openssh-server by hand and run the demo again.",
                    "\n".join(done.stdout.splitlines()[-10:]),
                )


def require_sshd(install_missing: bool, why: str, say: Say) -> Path:
    """The server's path, installed first where that was asked for.

    Args:
        install_missing: install it where it is missing.
        why: why it is needed at all, for the message.
        say: told what takes long.

    Raises:
        DemoUnavailable: it is not there; the action says how to get it.
    """
    found = find_sshd()
    if found is None and install_missing:
        install_sshd(say)
        found = find_sshd()
    if found is None:
        raise _missing(why)
    return found


@contextmanager
def loopback_hosts(
    number: int, directory: Path, keep: Keeping, sshd: Path, account: pwd.struct_passwd | None = None
) -> Iterator[DemoHosts]:
    """Start ``number`` servers, and end them at the end unless they are kept.

    Args:
        number: how many hosts; all of them are this machine.
        directory: an empty directory for keys, configuration and the home directory that logins get.
        keep: asked at the end.
        sshd: the server's path.
        account: who is let in; None for the current user. Only root can let in somebody else, and is let in
            as well then.

    Raises:
        DemoUnavailable: a server does not come up.
    """
    account = account or _account()
    key = directory / "client_key"
    authorized = directory / "authorized_keys"
    authorized.write_text(make_key(key) + "\n")
    authorized.chmod(0o644)
    with ExitStack() as servers:
        if os.geteuid() == 0:
            servers.enter_context(_privilege_separation_directory(keep))
        hosts, processes = [], []
        for position in range(1, number + 1):
            place = directory / f"host{position}"
            home = place / "home"
            home.mkdir(parents=True)
            subprocess.run(["sh", "-c", MAKE_TREES], env={**os.environ, "HOME": str(home)}, check=True)
            if account.pw_uid != os.geteuid():
                for path in (home, *home.rglob("*")):
                    os.chown(path, account.pw_uid, account.pw_gid)
            public = make_key(place / "host_key")
            (place / "host_key.pub").write_text(f"{public}\n")
            process, port = _start(sshd, place, authorized, account)
            processes.append(process)
            servers.callback(_end_unless, keep, process)
            hosts.append(
                DemoHost(
                    f"demo{position}",
                    account.pw_name,
                    _ADDRESS,
                    port,
                    fingerprint(public),
                )
            )
        what = f"{number} servers" if number > 1 else "an SSH server"
        yield DemoHosts(
            f"{what} on loopback that lets in {account.pw_name} with a key of its own",
            tuple(hosts),
            key,
            (f"kill {' '.join(str(process.pid) for process in processes)}",),
        )


def _account() -> pwd.struct_passwd:
    try:
        account = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise DemoUnavailable(
            f"The user id {os.geteuid()} has no account, so nobody can log in as it.",
            "Run the demo as a user of /etc/passwd.",
        ) from None
    if Path(account.pw_shell).name in ("nologin", "false"):
        raise DemoUnavailable(
            f"The account {account.pw_name} has no login shell ({account.pw_shell}).",
            "Run the demo as a user who may log in.",
        )
    return account


def _start(
    sshd: Path, place: Path, authorized: Path, account: pwd.struct_passwd
) -> tuple[subprocess.Popen[bytes], int]:
    log = place / "log"
    for _ in range(_ATTEMPTS):
        port = free_port(_ADDRESS)
        configuration = place / "sshd_config"
        configuration.write_text(_configuration(place, authorized, account, port))
        # A session of its own: Ctrl-C at the terminal is for the demo, which then ends the server itself.
        process = subprocess.Popen(
            [sshd, "-D", "-f", configuration, "-E", log],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if answers(process, _ADDRESS, port):
                return process, port
        except BaseException:
            _end(process)
            raise
        _end(process)  # most likely somebody else took the port in between
    raise DemoUnavailable(
        "The SSH server on loopback does not start.",
        "See its own words below.",
        log.read_text(errors="replace") if log.exists() else "",
    )


def _configuration(place: Path, authorized: Path, account: pwd.struct_passwd, port: int) -> str:
    options: Mapping[str, str] = {
        "ListenAddress": _ADDRESS,
        "Port": str(port),
        "HostKey": f'"{place / "host_key"}"',
        "PidFile": "none",
        "AuthorizedKeysFile": f'"{authorized}"',
        "AllowUsers": account.pw_name if account.pw_uid == os.geteuid() else f"{account.pw_name} root",
        "AuthenticationMethods": "publickey",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        # The directory is ours alone, but lies below the world-writable one for temporary files.
        "StrictModes": "no",
        # Whoever logs in works in a home of the demo's, not in the person's own.
        "SetEnv": f'"HOME={place / "home"}"',
        "UsePAM": "yes" if _is_locked(account) else "no",
        "AllowTcpForwarding": "no",
        "X11Forwarding": "no",
        "PrintMotd": "no",
        "Subsystem": "sftp internal-sftp",
    }
    return "".join(f"{option} {value}\n" for option, value in options.items())


def _is_locked(account: pwd.struct_passwd) -> bool:
    """Without PAM, sshd refuses an account whose password is locked, even with a key. Only root can tell."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith(f"{account.pw_name}:!") for line in lines)


def free_port(address: str) -> int:
    """A port of a loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(process: subprocess.Popen[bytes], address: str, port: int) -> bool:
    """Wait until an SSH server that was started answers; False when it ended or takes too long."""
    until = time.monotonic() + _START_LIMIT
    while process.poll() is None and time.monotonic() < until:
        try:
            with socket.create_connection((address, port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            pass
        time.sleep(0.02)
    return False


def _end_unless(keep: Keeping, process: subprocess.Popen[bytes]) -> None:
    if not keep:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and the sessions it still has."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@contextmanager
def _privilege_separation_directory(keep: Keeping) -> Iterator[None]:
    """Started by root, sshd insists on ``/run/sshd``, which the system's service makes elsewhere."""
    place = Path("/run/sshd")
    made = not place.exists()
    if made:
        place.mkdir(mode=0o755)
    try:
        yield
    finally:
        if made and not keep:
            place.rmdir()


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian's hook that keeps a package from starting its service; the demo starts a server of its own."""
    hook = Path("/usr/sbin/policy-rc.d")
    made = not hook.exists()
    if made:
        hook.write_text("#!/bin/sh\nexit 101\n")
        hook.chmod(0o755)
    try:
        yield
    finally:
        if made:
            hook.unlink(missing_ok=True)


def _missing(why: str) -> DemoUnavailable:
    return DemoUnavailable(
        f"OpenSSH's server is needed for a host on loopback, and there is none. {why}".rstrip(),
        "Install it (Debian, Ubuntu: apt-get install openssh-server; Fedora: dnf install openssh-server; "
        "as root on Debian and Ubuntu, dlpx-remote demo --install-missing does it), or start Docker.",
    )
