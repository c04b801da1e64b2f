"""The engine's Python API for named credentials, and the one place where its secrets are found."""

from __future__ import annotations

from collections.abc import Callable

from dlpx_remote.environments.credentials import Credentials
from dlpx_remote.environments.model import (
    Authentication,
    Credential,
    CredentialKind,
    EnvironmentSpec,
    Expected,
    SecretReference,
)
from dlpx_remote.environments.secrets import Secrets, Supplied
from dlpx_remote.store import Store

__all__ = ["Credential", "CredentialKind", "NamedCredentials", "Supplied"]


class NamedCredentials:
    """Named credentials: ``engine.credentials``.

    Args:
        store: the opened state.
        prompt: asks the person at the terminal; None refuses.
        warn: takes one sentence about a secret that is badly kept.

    Attributes:
        secrets: finds what is behind references, those to credentials too.
    """

    def __init__(
        self, store: Store, prompt: Callable[[str], str] | None, warn: Callable[[str], None]
    ) -> None:
        self._records = Credentials(store)
        self.secrets = Secrets(prompt, warn, named=self._records.get)

    def add(self, credential: Credential) -> Credential:
        """Record one; nothing is looked up yet.

        Raises:
            InvalidRequest: something in it cannot be.
            AlreadyExists: the name is taken.
        """
        return self._records.add(credential)

    def all(self) -> list[Credential]:
        """All, by name."""
        return self._records.all()

    def get(self, name: str) -> Credential:
        """By name; NotFound names the nearest known one."""
        return self._records.get(name)

    def remove(self, name: str) -> Credential:
        """Forget one; InvalidRequest names what still uses it."""
        return self._records.remove(name)

    def test(self, name: str) -> Supplied:
        """What is behind one, looked up now.

        Raises:
            SecretUnavailable: nothing, or something else than it should be.
        """
        reference = SecretReference("credential", self.get(name).name)
        return self.secrets.supply(reference, f"secret of the credential {name}")

    def kind_of(self, reference: SecretReference) -> CredentialKind | None:
        """What a reference to a credential leads to; None for one of another kind."""
        return self._records.kind_of(reference)

    def check_login(self, login: Authentication) -> None:
        """Raise unless the credentials that a login names are there and of the right type."""
        self._require(login.password_from, "password", "--password-from")
        self._require(login.key_from, "keyPair", "--key-from")
        self._require(login.passphrase_from, "password", "--passphrase-from")

    def check_environment(self, spec: EnvironmentSpec) -> None:
        """The same for all that an environment names."""
        self.check_login(spec.authentication)
        self.check_privilege(spec.privilege_password_from)

    def check_privilege(self, password_from: SecretReference | None) -> None:
        """The same for sudo's password."""
        self._require(password_from, "password", "--privilege-password-from")

    def _require(self, reference: SecretReference | None, expected: Expected, what: str) -> None:
        self._records.require(reference, expected, what)
