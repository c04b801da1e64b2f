"""Credentials under a name: where a password or key pair is, so that many can use it and one place changes.

The state holds references and public halves only. What is behind a reference is
:mod:`dlpx_remote.environments.secrets`' business.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dlpx_remote.environments.model import Credential, CredentialKind, Expected, SecretReference
from dlpx_remote.environments.registry import not_found, stored_reference
from dlpx_remote.environments.validation import (
    check_credential_name,
    check_secret_reference,
    check_user,
    parse_secret_reference,
)
from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.store import Store
from dlpx_remote.store.models import EnvironmentRow, UserRow
from dlpx_remote.store.operator_models import CredentialRow
from dlpx_remote.store.source_models import SourceRow

WORDS = {"password": "a password", "keyPair": "a key pair"}
_PUBLIC = ("ssh-", "ecdsa-", "sk-")


class Credentials:
    """The named credentials in the state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, credential: Credential) -> Credential:
        """Record one. Nothing is looked up yet.

        Raises:
            InvalidRequest: something in it cannot be.
            AlreadyExists: the name is taken.
        """
        _check(credential)
        with self._store.write() as session:
            if session.scalars(select(CredentialRow).where(CredentialRow.name == credential.name)).first():
                raise AlreadyExists(
                    f"There is a credential named {credential.name!r} already.",
                    f"Choose another name, or remove it first: dlpx-remote credential remove "
                    f"{credential.name}.",
                )
            row = CredentialRow(
                name=credential.name,
                kind=credential.kind,
                username=credential.username,
                username_from=stored_reference(credential.username_from),
                secret_from=stored_reference(credential.secret_from),
                public_part=credential.public_key,
                added=datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            return _credential(row)

    def all(self) -> list[Credential]:
        """All, by name."""
        with self._store.read() as session:
            return [
                _credential(row)
                for row in session.scalars(select(CredentialRow).order_by(CredentialRow.name))
            ]

    def get(self, name: str) -> Credential:
        """By name; NotFound names the nearest known one."""
        with self._store.read() as session:
            return _credential(_row(session, name))

    def kind_of(self, reference: SecretReference) -> CredentialKind | None:
        """What a reference to a credential leads to; None for a reference of another kind.

        Raises:
            NotFound: there is no such credential.
        """
        return self.get(reference.value).kind if reference.kind == "credential" else None

    def require(self, reference: SecretReference | None, expected: Expected, what: str) -> None:
        """Raise unless a reference that names a credential names one that is there, of the expected type.

        Args:
            reference: of any kind.
            expected: what it is to be.
            what: where it is used, for the message: ``--password-from``.

        Raises:
            NotFound: there is no such credential.
            InvalidRequest: it is of the other type.
        """
        if reference is None or reference.kind != "credential":
            return
        found = self.get(reference.value)
        if expected not in ("any", found.kind):
            raise InvalidRequest(
                f"{what} takes {WORDS[expected]}, and the credential {found.name} is {WORDS[found.kind]}.",
                "Name another one; dlpx-remote credential list shows what there is.",
            )

    def remove(self, name: str) -> Credential:
        """Forget one that nothing uses.

        Raises:
            NotFound: there is none of that name.
            InvalidRequest: names what uses it.
        """
        with self._store.write() as session:
            row = _row(session, name)
            used = _users(session, f"credential:{row.name}")
            if used:
                raise InvalidRequest(
                    f"The credential {row.name} is used by {', '.join(used)}.",
                    "Have those use another one first.",
                )
            found = _credential(row)
            session.delete(row)
            return found


def _check(credential: Credential) -> None:
    check_credential_name(credential.name)
    for reference, what in (
        (credential.secret_from, "The secret"),
        (credential.username_from, "The user name"),
    ):
        if reference is None:
            continue
        check_secret_reference(reference, what)
        if reference.kind == "credential":
            raise InvalidRequest(
                f"{what} of a credential cannot be another credential.", "Say where it really is."
            )
    if credential.username and credential.username_from is not None:
        raise InvalidRequest("There are two user names.", "Give either --username or --username-from.")
    if credential.username:
        check_user(credential.username)
    if credential.kind == "keyPair" and credential.secret_from.kind == "prompt":
        raise InvalidRequest(
            "A private key cannot be asked for at the terminal.", "Say where it is, for example file:PATH."
        )
    if credential.public_key is not None:
        if credential.kind != "keyPair":
            raise InvalidRequest("A password has no public key.", "Leave it out, or give --key-from.")
        if not credential.public_key.startswith(_PUBLIC) or "\n" in credential.public_key.strip():
            raise InvalidRequest(
                "The public key is not one line as OpenSSH writes it.", "Name the file PATH.pub of the key."
            )


def _users(session: Session, text: str) -> list[str]:
    """What names a credential, for people."""
    found = [
        f"{row.name} of {row.environment.name}"
        for row in session.scalars(
            select(UserRow).where(
                or_(UserRow.password_from == text, UserRow.key_from == text, UserRow.passphrase_from == text)
            )
        )
    ]
    environments = select(EnvironmentRow.name).where(EnvironmentRow.privilege_password_from == text)
    found += list(session.scalars(environments))
    found += [
        name
        for name, parameters in session.execute(select(SourceRow.name, SourceRow.parameters))
        if json.dumps(text) in json.dumps(parameters)
    ]
    return sorted(found)


def _row(session: Session, name: str) -> CredentialRow:
    row = session.scalars(select(CredentialRow).where(CredentialRow.name == name)).first()
    if row is None:
        known = session.scalars(select(CredentialRow.name)).all()
        raise not_found("credential", name, known, "Add it first: dlpx-remote credential add NAME …")
    return row


def _credential(row: CredentialRow) -> Credential:
    return Credential(
        name=row.name,
        kind=row.kind,  # type: ignore[arg-type]  # as it was added
        secret_from=parse_secret_reference(row.secret_from),
        username=row.username,
        username_from=None if row.username_from is None else parse_secret_reference(row.username_from),
        public_key=row.public_part,
    )
