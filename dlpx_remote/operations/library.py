"""Carries out the library calls of one plugin's worker: scripts on hosts, copying from them, credentials.

Connections come from whoever knows environments, through the :class:`Connections` protocol; a call names its
connection by references only, because plugins build connections themselves.

A call that fails is told to the plugin as ``LibraryError(id, message)``, which it may catch. The ids are
stable:

======================== ===================================================================================
``host_unreachable``      no connection to the host; the script was not run
``host_key_refused``      the host's identity could not be accepted; the script was not run
``authentication_failed`` the host refused the user's credentials, or they could not be used
``session_refused``       the host refused another session; the script was not run
``connection_unknown``    no such environment or user, or its secret cannot be had
``shell_unavailable``     the account gives no shell that can run the script, or the interpreter is missing
``home_missing``          the account's home directory does not exist; the script was not run
``invalid_command``       the script or a variable cannot be sent: a NUL byte, a name that is no identifier
``timeout``               the script ran out of time and was ended
``too_large``             the call's input or output is larger than it may be
``outcome_unknown``       the connection was lost after the script was sent
``output_lost``           the same, but the host told later that the script has ended, and how
``sync_failed``           a directory could not be copied, or not wholly
``privilege_refused``     the user may not run rsync as the account that was asked for; nothing was copied
``invalid_path``          a path of ``run_sync`` cannot be meant; nothing was copied
``transport_failed``      any other failure on the way to the host
``wrong_host_type``       PowerShell was asked of a Unix host, or bash or Expect of a Windows host
``no_data_set``           ``run_sync`` where there is no data set to copy into
``no_credential_store``   ``upgrade_password`` where the engine cannot keep a secret
======================== ===================================================================================
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.plugins.worker.library import LibraryCall, LibraryRefusal, LibraryReply
from dlpx_remote.plugins.worker.limits import Limits, size_in_words
from dlpx_remote.redaction import REDACTOR, redact
from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CommandEnded,
    ConnectFailed,
    Connection,
    CredentialUnusable,
    HomeDirectoryMissing,
    HostKeyError,
    InvalidCommand,
    NotSent,
    OutcomeUnknown,
    OutputLost,
    OutputTooLarge,
    ShellUnavailable,
    SyncFailed,
    TransportError,
)
from dlpx_remote.transports.privilege import Privilege, PrivilegeRefused

_LOG = logging.getLogger("dlpx_remote.library")
_WINDOWS = "WINDOWS_"
_INTERPRETERS: dict[str, Literal["bash", "expect", "powershell"]] = {
    "run_bash": "bash",
    "run_expect": "expect",
    "run_powershell": "powershell",
}
_IDS: tuple[tuple[type[TransportError], str], ...] = (  # the first that fits counts
    (HostKeyError, "host_key_refused"),
    (AuthenticationFailed, "authentication_failed"),
    (CredentialUnusable, "authentication_failed"),
    (ConnectFailed, "host_unreachable"),
    (NotSent, "session_refused"),
    (InvalidCommand, "invalid_command"),
    (ShellUnavailable, "shell_unavailable"),
    (HomeDirectoryMissing, "home_missing"),
    (OutputTooLarge, "too_large"),
    (CommandEnded, "timeout"),
    (OutcomeUnknown, "outcome_unknown"),
    (OutputLost, "output_lost"),
    (SyncFailed, "sync_failed"),
    (PrivilegeRefused, "privilege_refused"),
    (TransportError, "transport_failed"),
)


class Connections(Protocol):
    """Where connections to environments come from."""

    def connection(self, environment_reference: str, user_reference: str) -> Connection:
        """An open connection, which stays the property of this object.

        Raises:
            RemoteError: there is no such environment or user, or no connection to it.
        """
        ...

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        """How that user becomes another one on that environment.

        Raises:
            RemoteError: there is no such environment or user.
        """
        ...


@dataclass(frozen=True)
class SuppliedCredentials:
    """What is behind a credentials supplier.

    Attributes:
        username: empty where the credentials are for no account in particular.
        password: None for a key pair.
        private_key, public_key: None for a password.
    """

    username: str
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    public_key: str | None = field(default=None, repr=False)


class LibraryCalls:
    """A ``LibraryHandler`` for one worker.

    The variables of every script stay masked until :meth:`close`, not just while the script runs: a plugin
    may put a script's output into an error or a log line long after.

    Args:
        connections: where connections come from.
        limits: how much a call may take and give.
        data_set: the directory of the dSource's data set, which ``run_sync`` copies into; None where the
            operation has none. It is the caller's to make and to keep.
    """

    def __init__(
        self,
        connections: Connections,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        *,
        data_set: Path | None = None,
    ) -> None:
        self._connections = connections
        self._limits = limits
        self._data_set = data_set
        self._masks = contextlib.ExitStack()
        self._masked: set[bytes] = set()
        self._lock = threading.Lock()
        self._suppliers: dict[str, SuppliedCredentials] = {}
        self.abort: Abort | None = None
        """Ends what runs on a host. The operation then ends too, with what became of that."""

    def close(self) -> None:
        """The worker is gone: stop masking its variables, forget its suppliers. Idempotent."""
        self._masks.close()
        self._masked.clear()
        self._suppliers.clear()

    def hand_out(self, supplier: Mapping[str, Any], credentials: SuppliedCredentials) -> None:
        """Let the plugin retrieve ``credentials`` for ``supplier``, which is about to be passed to it."""
        self._suppliers[_canonical(supplier)] = credentials

    def handle(self, call: LibraryCall, timeout: float) -> LibraryReply:
        """Carry out a call; raises LibraryRefusal for what the plugin is to be told."""
        if call.function in _INTERPRETERS:
            return self._run(call, timeout)
        if call.function == "run_sync":
            return self._sync(call, timeout)
        if call.function == "retrieve_credentials":
            return self._retrieve(call)
        if call.function == "upgrade_password":
            raise _upgrade_refusal(call)
        raise LibraryRefusal("mistake", "unknown_function", f"The engine does not know libs.{call.function}.")

    def _run(self, call: LibraryCall, timeout: float) -> LibraryReply:
        interpreter = _INTERPRETERS[call.function]
        _require_host_type(call, interpreter)
        self._require_input(call)
        self._mask(call.variables)
        try:
            connection = self._connections.connection(call.environment, call.user)
            variables: dict[str, str | bytes] = dict(call.variables)
            if interpreter != "powershell":
                jq = connection.facts().tools.get("jq")
                if jq:
                    variables.setdefault("DLPX_BIN_JQ", jq)
            if _LOG.isEnabledFor(logging.DEBUG):
                _LOG.debug("%s on %s: %s", call.function, connection.address, _text(call.body))
            result = connection.run(
                call.body,
                variables=variables,
                login_shell=bool(call.options.get("use_login_shell")),
                interpreter=interpreter,
                timeout=timeout,
                max_output=self._limits.library,
                abort=self.abort,
            )
        except TransportError as error:
            self._refuse(call, error)
        except RemoteError as error:
            raise LibraryRefusal("failed", "connection_unknown", redact(str(error))) from error
        return LibraryReply({"exit_code": result.exit_code}, (result.stdout, result.stderr))

    def _sync(self, call: LibraryCall, timeout: float) -> LibraryReply:
        _require_host_type(call, "bash")
        if self._data_set is None:
            raise LibraryRefusal(
                "failed",
                "no_data_set",
                f"libs.run_sync needs the data set of a dSource to copy into; {call.operation} has none.",
            )
        source = str(call.options["source_directory"])
        try:
            connection = self._connections.connection(call.environment, call.user)
            privilege = self._connections.privilege(call.environment, call.user)
        except TransportError as error:
            raise _refusal(call, error) from error
        except RemoteError as error:
            raise LibraryRefusal("failed", "connection_unknown", redact(str(error))) from error
        try:
            _LOG.debug("%s from %s: %s to %s", call.function, connection.address, source, self._data_set)
            connection.sync(
                source,
                self._data_set,
                rsync_user=call.options.get("rsync_user"),
                exclude_paths=tuple(call.options.get("exclude_paths") or ()),
                sym_links_to_follow=tuple(call.options.get("sym_links_to_follow") or ()),
                privilege=privilege,
                timeout=timeout,
                abort=self.abort,
            )
        except TransportError as error:
            self._refuse(call, error)
        except InvalidRequest as error:
            raise LibraryRefusal(
                "failed", "invalid_path", redact(f"libs.run_sync failed: {error}")
            ) from error
        except RemoteError as error:
            raise LibraryRefusal("failed", "connection_unknown", redact(str(error))) from error
        return LibraryReply()

    def _refuse(self, call: LibraryCall, error: TransportError) -> NoReturn:
        """Tell the plugin, which may go on; but where the end was asked for, end the operation."""
        if self.abort is not None and self.abort.asked:
            raise error
        raise _refusal(call, error) from error

    def _require_input(self, call: LibraryCall) -> None:
        size = len(call.body) + sum(len(name) + len(value) for name, value in call.variables.items())
        if size > self._limits.library:
            raise LibraryRefusal(
                "failed",
                "too_large",
                f"The input of libs.{call.function} has {size_in_words(size)}; "
                f"at most {size_in_words(self._limits.library)} are possible.",
            )

    def _mask(self, variables: Mapping[str, bytes]) -> None:
        with self._lock:
            new = set(variables.values()) - self._masked
            if not new:
                return
            self._masks.enter_context(REDACTOR.variables(new))
            self._masked |= new

    def _retrieve(self, call: LibraryCall) -> LibraryReply:
        try:
            credentials = self._suppliers.get(_canonical(json.loads(call.body)))
        except ValueError:
            credentials = None
        if credentials is None:
            raise LibraryRefusal(
                "mistake",
                "unknown_supplier",
                "libs.retrieve_credentials takes only a credentials supplier that the engine handed out "
                "in this job, unmodified" + ("." if self._suppliers else "; it has handed out none."),
            )
        if credentials.password is not None:
            REDACTOR.register(credentials.password)
            parts = (credentials.username, credentials.password)
            return LibraryReply({"kind": "password"}, tuple(part.encode() for part in parts))
        private_key = credentials.private_key or ""
        if private_key:
            REDACTOR.register(private_key)
        keys = (credentials.username, private_key, credentials.public_key or "")
        return LibraryReply({"kind": "key_pair"}, tuple(part.encode() for part in keys))


def _require_host_type(call: LibraryCall, interpreter: str) -> None:
    windows = call.environment.startswith(_WINDOWS)
    if windows == (interpreter == "powershell"):
        return
    kind, instead = ("Windows", "run_powershell") if windows else ("Unix", "run_bash")
    raise LibraryRefusal(
        "failed",
        "wrong_host_type",
        f"libs.{call.function} was called for {call.environment}, which is a {kind} host; "
        f"use libs.{instead} there.",
    )


def _refusal(call: LibraryCall, error: TransportError) -> LibraryRefusal:
    name = next(name for kind, name in _IDS if isinstance(error, kind))
    message = f"libs.{call.function} failed: {error}"
    if error.output:
        message += f"\n{error.output}"
    return LibraryRefusal("failed", name, redact(message))


def _upgrade_refusal(call: LibraryCall) -> LibraryRefusal:
    if not call.operation.startswith("upgrade."):
        return LibraryRefusal(
            "mistake",
            "not_a_migration",
            f"libs.upgrade_password can be called in migrations only, not in {call.operation}.",
        )
    return LibraryRefusal(
        "failed",
        "no_credential_store",
        "libs.upgrade_password needs a place for the password, and this engine keeps no secrets of its own.",
    )


def _canonical(supplier: Any) -> str:
    return json.dumps(supplier, sort_keys=True)


def _text(command: bytes) -> str:
    return redact(command.decode("utf-8", "replace"))
