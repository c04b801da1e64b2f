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
from dataclasses import dataclass, field
from pathlib import Path

from dlpx_remote.environments.keypairs import begins_like_a_private_key, looks_like_a_private_key, public_half
from dlpx_remote.environments.model import Credential, CredentialKind, Expected, SecretReference
from dlpx_remote.environments.vaults import SecretUnavailable, from_keyring, from_vault
from dlpx_remote.errors import NotFound
from dlpx_remote.redaction import REDACTOR

__all__ = ["SecretUnavailable", "Secrets", "Supplied"]

_LOG = logging.getLogger(__name__)
_LARGEST = 64 * 1024  # bytes; a secret is a line, not a disk
COMMAND_TIMEOUT = 60.0
"""Seconds that a command may take to print a secret; a person may have to touch a key."""


KINDS = {"password": "a password", "keyPair": "a key pair"}


@dataclass(frozen=True)
class Supplied:
    """A secret, and what is known of it.

    Attributes:
        secret: the password, or the private key.
        kind: which of the two.
        username: of the account that it is for; empty where nobody said.
        public_key: of a key pair, as OpenSSH writes it; None where a passphrase guards the private half.
    """

    secret: str = field(repr=False)
    kind: CredentialKind
    username: str = ""
    public_key: str | None = None


class Secrets:
    """Finds the secrets behind references. Safe for use from several threads.

    Args:
        prompt: asks the person at the terminal; None refuses references of the kind ``prompt``.
        on_warning: takes one sentence about a secret that is badly kept; None means the log.
        environment: the variables that ``env`` references name.
        command_timeout: seconds for a command.
        named: finds a credential by its name; None knows none.
    """

    def __init__(
        self,
        prompt: Callable[[str], str] | None = None,
        on_warning: Callable[[str], None] | None = None,
        environment: Mapping[str, str] = os.environ,
        command_timeout: float = COMMAND_TIMEOUT,
        named: Callable[[str], Credential] | None = None,
    ) -> None:
        self._named = named
        self._prompt = prompt
        self._warn = on_warning or _LOG.warning
        self._environment = environment
        self._command_timeout = command_timeout
        self._lock = threading.Lock()
        self._one_question_at_a_time = threading.Lock()
        self._answers: dict[str, str] = {}
        self._warned: set[Path] = set()

    def supply(self, reference: SecretReference, purpose: str, expected: Expected = "any") -> Supplied:
        """What is behind ``reference``, with the account that it is for.

        Args:
            reference: where it is.
            purpose: what it is for, for people.
            expected: what it has to be.

        Raises:
            SecretUnavailable: there is none, or it is something else than expected; says what to do.
        """
        username, public_key = "", None
        if reference.kind == "credential":
            credential = self._credential(reference, purpose, expected)
            username, public_key = credential.username, credential.public_key
            if credential.username_from is not None:
                username = self.resolve(credential.username_from, f"user name of {credential.name}")
            reference, expected = credential.secret_from, credential.kind
        secret = self._found(reference, purpose, whole=expected != "password")
        is_key = looks_like_a_private_key(secret)
        if expected == "keyPair" and not is_key:
            raise SecretUnavailable(
                f"The {purpose} should be a private key, and what {reference} leads to is none.",
                "Put the private key there (OpenSSH's or PEM form, with its BEGIN and END lines).",
            )
        if expected == "password" and begins_like_a_private_key(secret):
            raise SecretUnavailable(
                f"The {purpose} should be a password, and {reference} leads to a private key.",
                "Name the place of the password, or give the key as a key.",
            )
        REDACTOR.register(secret)
        if is_key and public_key is None:
            public_key = public_half(secret)
        return Supplied(secret, "keyPair" if is_key else "password", username, public_key)

    def resolve(self, reference: SecretReference, purpose: str, expected: Expected = "password") -> str:
        """The secret behind ``reference``.

        Args:
            reference: where it is.
            purpose: what it is for, for people: ``password of anna on db1``. Someone who is asked is asked
                once for each purpose.
            expected: what it has to be.

        Raises:
            SecretUnavailable: there is none; says why and what to do.
        """
        return self.supply(reference, purpose, expected).secret

    def asks(self, reference: SecretReference) -> bool:
        """Whether somebody will be asked at the terminal for what is behind ``reference``."""
        if reference.kind != "credential" or self._named is None:
            return reference.kind == "prompt"
        try:
            found = self._named(reference.value)
        except NotFound:
            return False
        return "prompt" in (found.secret_from.kind, found.username_from and found.username_from.kind)

    def _credential(self, reference: SecretReference, purpose: str, expected: Expected) -> Credential:
        where = f"The {purpose} should be the credential {reference.value}"
        if self._named is None:
            raise SecretUnavailable(
                f"{where}, and there is no state here that has credentials.",
                "Say where the secret itself is: env:VARIABLE, file:PATH or command:COMMAND.",
            )
        try:
            found = self._named(reference.value)
        except NotFound as error:
            raise SecretUnavailable(f"{where}. {error.message}", error.action) from None
        if expected not in ("any", found.kind):
            raise SecretUnavailable(
                f"{where}, which is {KINDS[found.kind]} and not {KINDS[expected]}.",
                "Name another one; dlpx-remote credential list shows what there is.",
            )
        return found

    def _found(self, reference: SecretReference, purpose: str, *, whole: bool) -> str:
        """The text at a place; of files and commands the first line, or all of it."""
        match reference.kind:
            case "env":
                secret = self._from_environment(reference, purpose)
            case "file":
                secret = self._from_file(reference, purpose, whole)
            case "command":
                secret = self._from_command(reference, purpose, whole)
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
            case "credential":  # of a credential; refused when it was added
                raise SecretUnavailable(f"The {purpose} leads from one credential to another.")
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

    def _from_file(self, reference: SecretReference, purpose: str, whole: bool) -> str:
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
        line = _wanted(content, whole)
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

    def _from_command(self, reference: SecretReference, purpose: str, whole: bool) -> str:
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
        line = _wanted(output[:_LARGEST], whole)
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


def _wanted(content: bytes, whole: bool) -> bytes:
    """The first line, or all where that is a private key."""
    if whole and looks_like_a_private_key(content.decode("utf-8", "replace")):
        return content
    return content.partition(b"\n")[0].rstrip(b"\r")


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
