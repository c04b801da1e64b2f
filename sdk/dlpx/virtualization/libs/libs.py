"""The library functions: what a plugin can ask of the engine while an operation runs.

Each function checks and normalises its arguments and hands them to the process's backend
(:mod:`dlpx.virtualization.libs.backend`); text becomes UTF-8 on the way out, and output becomes text again
on the way back. Nothing here opens a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlpx.virtualization.common._common_classes import (
    KeyPairCredentials,
    PasswordCredentials,
    RemoteConnection,
)
from dlpx.virtualization.libs.backend import CommandOutput, require_backend
from dlpx.virtualization.libs.exceptions import IncorrectArgumentTypeError, PluginScriptError

__all__ = [
    "ScriptResult",
    "retrieve_credentials",
    "run_bash",
    "run_expect",
    "run_powershell",
    "run_sync",
    "upgrade_password",
]

OUTPUT_IN_ERROR = 16 * 1024
"""Characters of each stream that the text of a PluginScriptError quotes; its attributes hold all."""


@dataclass
class ScriptResult:
    """What a script left. Not frozen: plugins in the field trim the output in place.

    Attributes:
        exit_code: the script's own.
        stdout: decoded as UTF-8; bytes that are not become U+FFFD.
        stderr: the same.
    """

    exit_code: int
    stdout: str
    stderr: str


def run_bash(
    remote_connection: RemoteConnection,
    command: str | bytes,
    variables: Mapping[str, str | bytes] | None = None,
    use_login_shell: bool = False,
    check: bool = False,
) -> ScriptResult:
    """Run a bash script on a Unix host, as the connection's user and from that user's home directory.

    Args:
        remote_connection: where and as whom; only the references of its environment and user count.
        command: the script.
        variables: environment variables for the script. They are treated as secrets.
        use_login_shell: read the account's login start-up files first.
        check: raise when the script's exit code is not zero.

    Raises:
        IncorrectArgumentTypeError: an argument has the wrong type.
        PluginScriptError: ``check`` is set and the exit code is not zero.
        LibraryError: the call itself failed (host unreachable, time-out, outcome unknown).
    """
    arguments = _script_arguments("run_bash", remote_connection, command, variables)
    # None and other false values stand for "no" in plugins of the field.
    if use_login_shell and not isinstance(use_login_shell, bool):
        raise IncorrectArgumentTypeError("run_bash", "use_login_shell", type(use_login_shell), bool, False)
    output = require_backend("run_bash").run_bash(*arguments, bool(use_login_shell))
    return _script_result(output, check)


def run_powershell(
    remote_connection: RemoteConnection,
    command: str | bytes,
    variables: Mapping[str, str | bytes] | None = None,
    check: bool = False,
) -> ScriptResult:
    """Run a PowerShell script on a Windows host; arguments and errors as in :func:`run_bash`."""
    arguments = _script_arguments("run_powershell", remote_connection, command, variables)
    return _script_result(require_backend("run_powershell").run_powershell(*arguments), check)


def run_expect(
    remote_connection: RemoteConnection,
    command: str | bytes,
    variables: Mapping[str, str | bytes] | None = None,
    check: bool = False,
) -> ScriptResult:
    """Run an Expect (Tcl) script on a Unix host; arguments and errors as in :func:`run_bash`."""
    arguments = _script_arguments("run_expect", remote_connection, command, variables)
    return _script_result(require_backend("run_expect").run_expect(*arguments), check)


def run_sync(
    remote_connection: RemoteConnection,
    source_directory: str | bytes,
    rsync_user: str | bytes | None = None,
    exclude_paths: list[str] | list[bytes] | None = None,
    sym_links_to_follow: list[str] | list[bytes] | None = None,
) -> None:
    """Copy a directory of a host into the dSource's data set, with rsync.

    Args:
        remote_connection: where and as whom.
        source_directory: the directory on the host.
        rsync_user: the account that may read it, where that is not the connection's user.
        exclude_paths: paths to leave out.
        sym_links_to_follow: symbolic links whose target is copied in their place.

    Raises:
        IncorrectArgumentTypeError: an argument has the wrong type.
        LibraryError: the copy failed.
    """
    function = "run_sync"
    _require_connection(function, remote_connection)
    if not isinstance(source_directory, str | bytes):
        raise IncorrectArgumentTypeError(function, "source_directory", type(source_directory), str)
    if rsync_user is not None and not isinstance(rsync_user, str | bytes):
        raise IncorrectArgumentTypeError(function, "rsync_user", type(rsync_user), str, False)
    excluded = _texts(function, "exclude_paths", exclude_paths)
    followed = _texts(function, "sym_links_to_follow", sym_links_to_follow)
    require_backend(function).run_sync(
        remote_connection,
        _to_text(source_directory),
        _to_text(rsync_user) if rsync_user else None,
        excluded,
        followed,
    )


def retrieve_credentials(credentials_supplier: dict[str, Any]) -> PasswordCredentials | KeyPairCredentials:
    """The credentials behind a supplier that came with the parameters of the operation.

    Args:
        credentials_supplier: as the engine handed it out, unmodified.

    Raises:
        IncorrectArgumentTypeError: it is not a dict.
        PluginRuntimeError: the engine did not hand out this supplier in this operation.
        LibraryError: the credentials cannot be had now.
    """
    if not isinstance(credentials_supplier, dict):
        raise IncorrectArgumentTypeError(
            "retrieve_credentials", "credentials_supplier", type(credentials_supplier), dict
        )
    return require_backend("retrieve_credentials").retrieve_credentials(credentials_supplier)


def upgrade_password(password: str, username: str | None = None) -> dict[str, Any]:
    """Turn a password that an older version of the plugin stored into a credentials supplier.

    Args:
        password: the password.
        username: the account it belongs to, where one does.

    Returns:
        A supplier to store in its place.

    Raises:
        IncorrectArgumentTypeError: an argument has the wrong type.
        PluginRuntimeError: called outside a migration.
    """
    if not isinstance(password, str):
        raise IncorrectArgumentTypeError("upgrade_password", "password", type(password), str)
    if username is not None and not isinstance(username, str):
        raise IncorrectArgumentTypeError("upgrade_password", "username", type(username), str, False)
    return require_backend("upgrade_password").upgrade_password(password, username or None)


def _script_arguments(
    function: str, remote_connection: object, command: object, variables: object
) -> tuple[RemoteConnection, bytes, dict[str, bytes]]:
    """What the three script functions have in common, checked and as the backend wants it."""
    connection = _require_connection(function, remote_connection)
    if not isinstance(command, str | bytes):
        raise IncorrectArgumentTypeError(function, "command", type(command), str)
    if variables is None:
        return connection, _to_bytes(command), {}
    if not isinstance(variables, Mapping):
        raise IncorrectArgumentTypeError(function, "variables", type(variables), {str: str}, False)
    if not all(isinstance(name, str) and isinstance(value, str | bytes) for name, value in variables.items()):
        found = {(type(name), type(value)) for name, value in variables.items()}
        raise IncorrectArgumentTypeError(function, "variables", found, {str: str}, False)
    return connection, _to_bytes(command), {name: _to_bytes(value) for name, value in variables.items()}


def _script_result(output: CommandOutput, check: bool) -> ScriptResult:
    result = ScriptResult(
        output.exit_code, output.stdout.decode("utf-8", "replace"), output.stderr.decode("utf-8", "replace")
    )
    if check and result.exit_code != 0:
        raise PluginScriptError(
            f"The script failed with exit code {result.exit_code}. "
            f"stdout: {_shortened(result.stdout)} stderr: {_shortened(result.stderr)}",
            result.exit_code,
            result.stdout,
            result.stderr,
        )
    return result


def _require_connection(function: str, value: object) -> RemoteConnection:
    if not isinstance(value, RemoteConnection):
        raise IncorrectArgumentTypeError(function, "remote_connection", type(value), RemoteConnection)
    return value


def _texts(function: str, parameter_name: str, values: object) -> tuple[str, ...]:
    if values is None:
        return ()
    if not isinstance(values, list):
        raise IncorrectArgumentTypeError(function, parameter_name, type(values), [str], False)
    if not all(isinstance(value, str | bytes) for value in values):
        found = [type(value) for value in values]
        raise IncorrectArgumentTypeError(function, parameter_name, found, [str], False)
    return tuple(_to_text(value) for value in values)


# File names that are not UTF-8 reach Python as surrogates (os.fsdecode); they leave as the bytes they were.


def _to_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def _to_text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _shortened(text: str) -> str:
    """``text``, with its middle left out when it is long: the ends say most."""
    left_out = len(text) - OUTPUT_IN_ERROR
    if left_out <= 0:
        return text
    half = OUTPUT_IN_ERROR // 2
    return f"{text[:half]}\n… {left_out} characters left out …\n{text[-half:]}"
