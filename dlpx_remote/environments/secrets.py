"""Resolving references to secrets at the moment they are needed.

Every secret found is made known to the redactor before anyone else sees it. Errors name the reference and
what to do about it, never the value, nor what a command printed.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from dlpx_remote.environments.model import SecretReference
from dlpx_remote.environments.vaults import SecretUnavailable, from_keyring, from_vault
from dlpx_remote.redaction import REDACTOR

__all__ = ["SecretUnavailable", "Secrets"]

_LOG = logging.getLogger(__name__)
_LARGEST = 64 * 1024  # bytes; a secret is a line, not a disk
COMMAND_TIMEOUT = 60.0
"""Seconds that a command may take to print a secret; a person may have to touch a key."""


class Secrets:
    """Finds the secrets behind references. Safe for use from several threads.

    Args:
        prompt: asks the person at the terminal; None refuses references of the kind ``prompt``.
        on_warning: takes one sentence about a secret that is badly kept; None means the log.
        environment: the variables that ``env`` references name.
        command_timeout: seconds for a command.
    """

    def __init__(
        self,
        prompt: Callable[[str], str] | None = None,
        on_warning: Callable[[str], None] | None = None,
        environment: Mapping[str, str] = os.environ,
        command_timeout: float = COMMAND_TIMEOUT,
    ) -> None:
        self._prompt = prompt
        self._warn = on_warning or _LOG.warning
        self._environment = environment
        self._command_timeout = command_timeout
        self._lock = threading.Lock()
        self._one_question_at_a_time = threading.Lock()
        self._answers: dict[str, str] = {}
        self._warned: set[Path] = set()

    def resolve(self, reference: SecretReference, purpose: str) -> str:
        """The secret behind ``reference``.

        Args:
            reference: where it is.
            purpose: what it is for, for people: ``password of anna on db1``. Someone who is asked is asked
                once for each purpose.

        Raises:
            SecretUnavailable: there is none; says why and what to do.
        """
        match reference.kind:
            case "env":
                secret = self._from_environment(reference, purpose)
            case "file":
                secret = self._from_file(reference, purpose)
            case "command":
                secret = self._from_command(reference, purpose)
            case "keyring":
                secret = from_keyring(
                    reference.value, f"The {purpose} should be in the keyring under {reference.value}"
                )
            case "vault":
                secret = from_vault(
                    reference.value,
                    f"The {purpose} should be in Vault at {reference.value}",
                    self._environment,
                )
            case "prompt":
                secret = self._from_person(purpose)
        REDACTOR.register(secret)
        return secret

    def _from_environment(self, reference: SecretReference, purpose: str) -> str:
        secret = self._environment.get(reference.value, "")
        if not secret:
            state = "is empty" if reference.value in self._environment else "is not set"
            raise SecretUnavailable(
                f"The {purpose} should be in the variable {reference.value}, which {state}.",
                f"Set it before running dlpx-remote: read -rs {reference.value}; export {reference.value}",
            )
        return secret

    def _from_file(self, reference: SecretReference, purpose: str) -> str:
        path = Path(reference.value).expanduser()
        where = f"The {purpose} should be in the file {path}"
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise SecretUnavailable(
                f"{where}, which cannot be read: {error.strerror}.",
                "Write the secret into its first line, readable by you only (chmod 600).",
            ) from None
        line = content.partition(b"\n")[0].rstrip(b"\r")
        if not line:
            raise SecretUnavailable(f"{where}, whose first line is empty.", "Write it into the first line.")
        secret = _decoded(line, where)
        REDACTOR.register(secret)
        if stat.S_IMODE(mode) & 0o077:
            self._warn_of(path)
        return secret

    def _warn_of(self, path: Path) -> None:
        with self._lock:
            if path in self._warned:
                return
            self._warned.add(path)
        self._warn(f"The file {path} holds a secret and can be read by others: chmod 600 {path}")

    def _from_command(self, reference: SecretReference, purpose: str) -> str:
        where = f"The {purpose} should come from the command {reference.value!r}"
        by_hand = "Run it by hand to see why; it must print the secret in its first line."
        try:
            words = shlex.split(reference.value)
        except ValueError:
            words = []
        if not words:
            raise SecretUnavailable(f"{where}, whose quotes do not match.", "Correct the quotes.")
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise SecretUnavailable(
                f"{where}, which cannot be started: {error.strerror}.",
                "It is run without a shell; for pipes and the like write command:sh -c '…'.",
            ) from None
        with process:
            try:
                output, _ = process.communicate(timeout=self._command_timeout)
            except subprocess.TimeoutExpired:
                _end(process)
                raise SecretUnavailable(
                    f"{where}, which did not end within {self._command_timeout:g} seconds.", by_hand
                ) from None
            except BaseException:
                _end(process)
                raise
        if process.returncode != 0:
            raise SecretUnavailable(f"{where}, which failed with exit code {process.returncode}.", by_hand)
        line = output[:_LARGEST].partition(b"\n")[0].rstrip(b"\r")
        if not line:
            raise SecretUnavailable(f"{where}, which printed nothing in its first line.", by_hand)
        return _decoded(line, where)

    def _from_person(self, purpose: str) -> str:
        with self._one_question_at_a_time:
            if purpose in self._answers:
                return self._answers[purpose]
            if self._prompt is None:
                raise SecretUnavailable(
                    f"The {purpose} should be asked for, but there is nobody to ask.",
                    "Run it at a terminal, or say where it is: env:VARIABLE, file:PATH or command:COMMAND.",
                )
            secret = self._prompt(f"{purpose[0].upper()}{purpose[1:]}")
            if not secret:
                raise SecretUnavailable(f"No {purpose} was given.", "Try again and type it.")
            REDACTOR.register(secret)
            self._answers[purpose] = secret
            return secret


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise SecretUnavailable(
            f"{where}, but what is there is not UTF-8 text.", "Store it as UTF-8."
        ) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started: it has a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
