"""The contract of a transport: run a script on a host, move files, close; and the one family of errors.

A transport knows a host's address and how to get in. It knows nothing of environments, plugins, jobs or the
state, and can be used alone. SSH and WinRM implement :class:`Connection`; everything else in the engine is
written against this module.

What happened to a command is one of four states: not sent, sent, started, finished. Errors that derive from
:class:`NotSent` guarantee that the script has not run; :class:`OutcomeUnknown` says that nobody knows. Only
"not sent" may ever be retried without asking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import redact

if TYPE_CHECKING:
    from dlpx_remote.transports.abort import Abort
    from dlpx_remote.transports.privilege import Privilege

MAX_OUTPUT = 192 * 1024 * 1024
"""Bytes of stdout plus stderr that one command may return unless the caller says otherwise."""

StreamName = Literal["stdout", "stderr"]
OutputCallback = Callable[[StreamName, bytes], None]


@dataclass(frozen=True)
class CommandResult:
    """What a finished command left.

    Attributes:
        exit_code: the script's own; 128 + n when signal n ended it.
        stdout: bytes as they came.
        stderr: bytes as they came.
        signal: name without ``SIG`` (``"KILL"``) when the exit code is 128 + n, as shells report a death by
            signal (a script that itself exits with 137 reads the same), else None.
        duration: seconds from sending to the result.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    signal: str | None = None
    duration: float = 0.0

    @property
    def stdout_text(self) -> str:
        """stdout decoded as UTF-8; undecodable bytes become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def stderr_text(self) -> str:
        """stderr decoded as UTF-8; undecodable bytes become U+FFFD."""
        return self.stderr.decode("utf-8", "replace")


@dataclass(frozen=True)
class FileCopied:
    """What was copied.

    Attributes:
        size: bytes.
        sha256: of what was read at the source, in hexadecimal.
        verified: True when the host's own SHA-256 of the file was compared; False where the host has no tool
            for it, and only the size was.
    """

    size: int
    sha256: str
    verified: bool


@dataclass(frozen=True)
class SyncProgress:
    """How far the copying of a directory is.

    Attributes:
        size: bytes so far.
        percent: of what is known to be copied by now.
    """

    size: int
    percent: int


@dataclass(frozen=True)
class SyncResult:
    """What the copying of a directory did.

    Attributes:
        files: regular files that were transferred; unchanged ones are not.
        size: their bytes.
        vanished: paths that were there when it began, and gone when their turn came.
    """

    files: int
    size: int
    vanished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deadlines:
    """Time-outs in seconds.

    Attributes:
        connect: from name resolution to a usable session, all jump hosts included.
        idle: without a byte from the host while a command runs; None for no limit.
        total: for one command; None for no limit.
        alive: without any sign of life from the host, whether or not a command runs. The host is asked for
            one when two thirds of it are over; then the connection is lost.
        settle: for reaching the host again when the connection was lost after a script was sent, to ask what
            became of it; 0 does not ask. A script that still runs is waited for within its own ``total``.
    """

    connect: float = 15.0
    idle: float | None = None
    total: float | None = None
    alive: float = 45.0
    settle: float = 30.0


@dataclass(frozen=True)
class ShellFacts:
    """What a transport learns about the account it logged in to, once a connection.

    Attributes:
        user: the login name.
        uid, gid: numeric, None where the host has none (Windows).
        home: the home directory as the account has it, whether it exists or not.
        shell: the login shell.
        locale: the UTF-8 POSIX locale that commands get, or None where the host has none.
        tools: absolute path by tool name, only those found (bash, sudo, rsync, expect, jq, mount.nfs).
        operating_system: for example ``"Debian GNU/Linux 12 (bookworm)"``.
        kernel: for example ``"Linux 6.1.0-18-amd64"``.
        architecture: for example ``"x86_64"``.
        hostname: what the host calls itself.
        no_runner: why every command needs a session of its own there; None where one long-lived process
            starts them, which is faster.
    """

    user: str
    uid: int | None = None
    gid: int | None = None
    home: str = ""
    shell: str = ""
    locale: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    operating_system: str = ""
    kernel: str = ""
    architecture: str = ""
    hostname: str = ""
    no_runner: str | None = None


class Connection(Protocol):
    """An open way into one account on one host. Safe for use from several threads at once."""

    @property
    def address(self) -> str:
        """``user@host:port`` for people."""
        ...

    @property
    def is_open(self) -> bool:
        """False once the connection is closed or known to be lost; True does not promise that it works."""
        ...

    def facts(self) -> ShellFacts:
        """Facts about the account and host, asked for once and then kept."""
        ...

    def run(
        self,
        script: str | bytes,
        *,
        variables: Mapping[str, str | bytes] | None = None,
        login_shell: bool = False,
        interpreter: Literal["bash", "expect", "powershell"] = "bash",
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: OutputCallback | None = None,
        abort: Abort | None = None,
    ) -> CommandResult:
        """Run ``script`` in a fresh interpreter from the account's home directory.

        Args:
            script: text or bytes of any size without a NUL byte; a script whose every line ends in CRLF is
                taken as if it had LF.
            variables: environment of the script; names are shell identifiers, values have no NUL byte.
                They are secrets: they never appear in a log, an error or a process list.
            login_shell: read the account's login start-up files first.
            interpreter: what runs the script.
            timeout: seconds for this command; None takes the connection's ``Deadlines.total``.
            max_output: bytes of both streams together.
            on_output: called with each piece as it comes, from the calling thread.
            abort: ends the command from another thread, within seconds.

        Returns:
            The result, whatever the exit code.

        Raises:
            InvalidCommand: the script or a variable cannot be sent.
            NotSent: the host has not seen the script.
            CommandTimeout: the time was up; the remote process group was ended, or not confirmed.
            CommandAborted: the same, because ``abort`` was asked.
            OutputTooLarge: more than ``max_output``; the remote process group was ended.
            ShellUnavailable: the account gives no shell that can run it.
            OutputLost: the connection was lost after the script was sent; how it ended is known.
            OutcomeUnknown: the connection was lost after the script was sent, and the host does not know.
        """
        ...

    def put(
        self,
        source: Path,
        destination: str,
        *,
        mode: int = 0o600,
        owner: str = "",
        timeout: float | None = None,
    ) -> FileCopied:
        """Copy a local file to ``destination`` on the host, atomically.

        Args:
            source: a regular file of any size.
            destination: relative to the home directory; a symbolic link there is itself replaced.
            mode: permissions of the copy.
            owner: ``user``, ``user:group`` or ``:group``, as names or numbers; empty leaves it to the
                account. Another user than the account itself needs root.
            timeout: seconds for all of it; None takes the connection's ``Deadlines.total``.

        Raises:
            InvalidRequest: ``destination`` is no path.
            NotSent: the connection was lost before; nothing was copied.
            TransferFailed: the destination is as it was before.
            OutcomeUnknown: the connection was lost at the very end; the destination is either as before, or
                the whole new file.
        """
        ...

    def get(
        self, source: str, destination: Path, *, mode: int = 0o600, timeout: float | None = None
    ) -> FileCopied:
        """Copy a regular file of the host to the local ``destination``, atomically.

        Args:
            source: relative to the home directory.
            destination: a symbolic link there is itself replaced.
            mode: permissions of the copy.
            timeout: seconds for all of it; None takes the connection's ``Deadlines.total``.

        Raises:
            InvalidRequest: ``source`` is no path.
            NotSent: the connection was lost before; nothing was copied.
            TransferFailed: the destination is as it was before.
        """
        ...

    def sync(
        self,
        source_directory: str,
        destination: Path,
        *,
        rsync_user: str | None = None,
        exclude_paths: Sequence[str] = (),
        sym_links_to_follow: Sequence[str] = (),
        delete: bool = True,
        privilege: Privilege | None = None,
        timeout: float | None = None,
        on_progress: Callable[[SyncProgress], None] | None = None,
        abort: Abort | None = None,
    ) -> SyncResult:
        """Copy what is in a directory of the host into a local one: what changed, and only that.

        Owners (as numbers, where this process may set them), permissions, times, symbolic and hard links stay
        as they are.

        Args:
            source_directory: relative to the home directory.
            destination: an existing directory.
            rsync_user: the account on the host that may read the source, where it is not the login's own.
            exclude_paths: what is left out, as rsync's patterns. One that begins with a slash is relative to
                the source directory, or a path below it; another fits at any depth.
            sym_links_to_follow: symbolic links in the source directory whose target is copied in their place.
            delete: remove what is at the destination and not at the source, except what is excluded.
            privilege: how the login becomes ``rsync_user``; None means sudo without a password.
            timeout: seconds for all of it; None takes the connection's ``Deadlines.total``.
            on_progress: called now and then, from the calling thread.
            abort: ends the copying from another thread.

        Raises:
            InvalidRequest: a path cannot be meant.
            NotSent: the connection was lost before; nothing was copied.
            PrivilegeRefused: the account may not run rsync as ``rsync_user``.
            SyncFailed: what is at the destination is not whole. What has come is kept for the next time.
        """
        ...

    def close(self) -> None:
        """End the connection and everything it left on the host. Idempotent; raises nothing."""
        ...


class TransportError(RemoteError):
    """Root of the transports' errors.

    Args:
        message: what happened; secrets are masked here, whoever wrote the sentence.
        action: what to do.
        output: partial output or the peer's own words.
        host: the host's address as configured.
        user: the login name, where one is known.
    """

    def __init__(
        self, message: str, action: str = "", output: str = "", *, host: str = "", user: str = ""
    ) -> None:
        super().__init__(redact(message), redact(action), redact(output))
        self.host = host
        self.user = user


class InvalidCommand(TransportError):
    """The script or a variable cannot be sent at all: a NUL byte, a name that is no identifier."""


class NotSent(TransportError):
    """The script was not sent, or not wholly, and has not run; trying again is safe."""


class ConnectFailed(NotSent):
    """No connection to the host; the subclasses say where it stopped."""


class NameNotResolved(ConnectFailed):
    """The host name has no address."""


class ConnectionRefused(ConnectFailed):
    """The host answered that nothing listens on the port, or there is no route to it."""


class ConnectTimeout(ConnectFailed):
    """No answer, or no complete handshake, within ``Deadlines.connect``."""


class HandshakeFailed(ConnectFailed):
    """Something answered that does not speak the protocol, or no common algorithm was found."""


class HostKeyError(ConnectFailed):
    """The host's identity could not be accepted.

    Attributes:
        fingerprint: ``SHA256:…`` of the key that the host showed, empty where none was seen.
    """

    def __init__(
        self, message: str, action: str = "", *, host: str = "", user: str = "", fingerprint: str = ""
    ) -> None:
        super().__init__(message, action, host=host, user=user)
        self.fingerprint = fingerprint


class HostKeyUnknown(HostKeyError):
    """No known key for this host, and the policy is strict."""


class HostKeyChanged(HostKeyError):
    """The host showed another key than the one known or pinned."""


class HostKeyRevoked(HostKeyError):
    """The host showed a key that ``known_hosts`` marks as revoked."""


class AuthenticationFailed(ConnectFailed):
    """The host refused every credential that was offered; never retried by itself."""


class LoginLost(ConnectFailed):
    """The connection broke while logging in; the host refused nothing, so trying again is safe."""


class CredentialUnusable(ConnectFailed):
    """A credential could not be used at all: no such key file, passphrase missing or wrong, no agent."""


class SessionRefused(NotSent):
    """The host refused another session on this connection (``MaxSessions``), or any session at all."""


class ShellUnavailable(TransportError):
    """The login succeeded, but no bash could be started: no shell, no bash, or the account is closed."""


class HomeDirectoryMissing(TransportError):
    """The account's home directory does not exist or cannot be entered; the script was not run."""


class CommandEnded(TransportError):
    """The engine ended a running command.

    Attributes:
        killed: True when the remote process group is confirmed to be gone.
        stdout, stderr: what had come until then.
    """

    def __init__(
        self,
        message: str,
        action: str = "",
        *,
        host: str = "",
        user: str = "",
        killed: bool = False,
        stdout: bytes = b"",
        stderr: bytes = b"",
    ) -> None:
        super().__init__(message, action, host=host, user=user)
        self.killed = killed
        self.stdout = stdout
        self.stderr = stderr


class CommandTimeout(CommandEnded):
    """A command ran out of time, or sent nothing for longer than ``Deadlines.idle``."""


class CommandAborted(CommandEnded):
    """A command's end was asked for: see ``abort`` of :meth:`Connection.run`."""


class OutputTooLarge(CommandEnded):
    """A command wrote more than it may return."""


class OutcomeUnknown(TransportError):
    """The connection was lost after the script was sent: it may have run, wholly, partly or not at all."""


class OutputLost(TransportError):
    """The connection was lost while the script ran; it has ended since, and its output may not be whole.

    Attributes:
        exit_code: the script's own; 128 + n when signal n ended it, such as 141 (``PIPE``) where it wrote to
            a connection that was gone.
        stdout, stderr: what had come until then.
    """

    def __init__(
        self,
        message: str,
        action: str = "",
        *,
        host: str = "",
        user: str = "",
        exit_code: int = 0,
        stdout: bytes = b"",
        stderr: bytes = b"",
    ) -> None:
        super().__init__(message, action, host=host, user=user)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


class TransferFailed(TransportError):
    """A file could not be copied; the destination is as it was before."""


class SyncFailed(TransportError):
    """A directory could not be copied, or not wholly; what is at the destination is not to be used."""
