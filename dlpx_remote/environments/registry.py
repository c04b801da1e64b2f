"""The environments that are configured: adding, finding, changing and removing them in the state.

This room turns rows into values. It asks nothing of a host.
"""

from __future__ import annotations

import difflib
import getpass
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dlpx_remote.environments.model import (
    Authentication,
    Environment,
    EnvironmentSpec,
    EnvironmentUser,
    HostFacts,
    HostType,
    SecretReference,
    WindowsAccess,
)
from dlpx_remote.environments.validation import (
    check_authentication,
    check_privilege,
    check_spec,
    check_user,
    parse_secret_reference,
)
from dlpx_remote.environments.windows import check_windows_login
from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound
from dlpx_remote.store import Store
from dlpx_remote.store.models import EnvironmentRow, HostFactsRow, UserRow
from dlpx_remote.transports.ssh.target import SshTarget, hops


class Registry:
    """Environments and their users in the state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, spec: EnvironmentSpec) -> Environment:
        """Record an environment with its primary user.

        Raises:
            InvalidRequest: something in ``spec`` cannot be.
            AlreadyExists: the name is taken.
        """
        check_spec(spec)
        with self._store.write() as session:
            if session.scalars(select(EnvironmentRow).where(EnvironmentRow.name == spec.name)).first():
                raise AlreadyExists(
                    f"There is an environment named {spec.name!r} already.",
                    f"Choose another name, or remove it first: dlpx-remote env remove {spec.name}.",
                )
            kind = spec.host_type.value
            number = self._store.next_number(session, "environment")
            row = EnvironmentRow(
                reference=f"{kind}_HOST_ENVIRONMENT-{number}",
                host_reference=f"{kind}_HOST-{self._store.next_number(session, 'host')}",
                name=spec.name,
                host=spec.host,
                port=spec.port,
                host_type=kind,
                jump=list(spec.jump),
                host_key=spec.host_key,
                fingerprint=spec.fingerprint,
                directory=spec.directory,
                privilege=spec.privilege,
                privilege_password_from=stored_reference(spec.privilege_password_from),
                **_windows_columns(spec),
                made_on_host=[],
                added=datetime.now(UTC),
            )
            row.users.append(self._user_row(session, login_name(spec), spec.authentication, primary=True))
            session.add(row)
            session.flush()
            return _environment(row)

    def all(self) -> list[Environment]:
        """Every environment, by name."""
        with self._store.read() as session:
            rows = session.scalars(select(EnvironmentRow).order_by(EnvironmentRow.name)).all()
            return [_environment(row) for row in rows]

    def get(self, name: str) -> Environment:
        """By name or reference.

        Raises:
            NotFound: with the nearest known name.
        """
        with self._store.read() as session:
            return _environment(_row(session, name))

    def remove(self, name: str) -> Environment:
        """Forget an environment with its users, facts and what was discovered on it."""
        with self._store.write() as session:
            row = _row(session, name)
            environment = _environment(row)
            session.delete(row)
            return environment

    def add_user(
        self, environment: str, user: str, authentication: Authentication, primary: bool
    ) -> Environment:
        """Record another user; ``primary`` makes it the one that operations run as."""
        check_user(user)
        check_authentication(authentication)
        with self._store.write() as session:
            row = _row(session, environment)
            windows = _environment(row).windows
            if windows is not None:
                check_windows_login(windows, authentication)
            elif authentication.certificate is not None:
                raise InvalidRequest("A certificate is for Windows hosts.", "Leave out --certificate.")
            if any(known.name == user for known in row.users):
                raise AlreadyExists(
                    f"The environment {row.name} has a user {user!r} already.",
                    "Remove it first to change how it logs in.",
                )
            if primary:
                for known in row.users:
                    known.is_primary = False
            row.users.append(self._user_row(session, user, authentication, primary=primary))
            session.flush()
            return _environment(row)

    def remove_user(self, environment: str, user: str) -> Environment:
        """Forget a user that is not the primary one."""
        with self._store.write() as session:
            row = _row(session, environment)
            known = _user(row, user)
            if known.is_primary:
                others = [other.name for other in row.users if other is not known]
                raise InvalidRequest(
                    f"{known.name!r} is the primary user of {row.name}: operations run as it.",
                    f"Make another one primary first ({', '.join(others)})."
                    if others
                    else "Add another user as primary first, or remove the environment.",
                )
            row.users.remove(known)
            session.flush()
            return _environment(row)

    def set_primary(self, environment: str, user: str) -> Environment:
        """Make a known user the one that operations run as."""
        with self._store.write() as session:
            row = _row(session, environment)
            chosen = _user(row, user)
            for known in row.users:
                known.is_primary = known is chosen
            session.flush()
            return _environment(row)

    def set_privilege(
        self, environment: str, privilege: str, password_from: SecretReference | None
    ) -> Environment:
        """Change how users become root on an environment; see :class:`EnvironmentSpec`."""
        check_privilege(privilege, password_from)
        with self._store.write() as session:
            row = _row(session, environment)
            row.privilege = privilege
            row.privilege_password_from = stored_reference(password_from)
            session.flush()
            return _environment(row)

    def record_facts(self, reference: str, facts: HostFacts) -> Environment:
        """Keep what was found on the host, in place of what was known."""
        with self._store.write() as session:
            row = _row(session, reference)
            values = {**asdict(facts), "tools": dict(facts.tools), "collected": datetime.now(UTC)}
            if row.facts is None:
                row.facts = HostFactsRow(**values)
            else:
                for name, value in values.items():
                    setattr(row.facts, name, value)
            session.flush()
            return _environment(row)

    def made_on_host(self, reference: str) -> tuple[str, ...]:
        """The directories that the engine itself made on the host, outermost first."""
        with self._store.read() as session:
            return tuple(_row(session, reference).made_on_host)

    def record_made(self, reference: str, directories: Sequence[str]) -> None:
        """Remember directories that were just made on the host."""
        with self._store.write() as session:
            row = _row(session, reference)
            known = row.made_on_host
            row.made_on_host = sorted({*known, *directories}, key=_depth)

    def lookup(self, environment_reference: str, user_reference: str) -> tuple[Environment, EnvironmentUser]:
        """The environment and user behind two references.

        Raises:
            NotFound: one of them is not known, or the user is another environment's.
        """
        with self._store.read() as session:
            row = session.scalars(
                select(EnvironmentRow).where(EnvironmentRow.reference == environment_reference)
            ).first()
            if row is None:
                raise unknown_environment(
                    environment_reference, session.scalars(select(EnvironmentRow.reference)).all()
                )
            environment = _environment(row)
        return environment, user_by_reference(environment, user_reference)

    def find(self, name: str, user: str | None) -> tuple[Environment, EnvironmentUser]:
        """The environment by name or reference, and a user of it likewise; the primary one for None.

        Raises:
            NotFound: one of them is not known; names the nearest known one.
        """
        environment = self.get(name)
        return environment, user_by_name(environment, user)

    def _user_row(
        self, session: Session, name: str, authentication: Authentication, *, primary: bool
    ) -> UserRow:
        return UserRow(
            reference=f"HOST_USER-{self._store.next_number(session, 'user')}",
            name=name,
            is_primary=primary,
            agent=authentication.agent,
            key_path=None if authentication.key is None else _absolute(authentication.key),
            passphrase_from=stored_reference(authentication.passphrase_from),
            password_from=stored_reference(authentication.password_from),
            certificate_path=None
            if authentication.certificate is None
            else _absolute(authentication.certificate),
            key_from=stored_reference(authentication.key_from),
        )


def _windows_columns(spec: EnvironmentSpec) -> dict[str, Any]:
    if spec.host_type is not HostType.WINDOWS:
        return {}
    access = spec.windows or WindowsAccess()
    return {
        "scheme": access.scheme,
        "login": access.login,
        "ca_file": None if access.ca_file is None else _absolute(access.ca_file),
        "unencrypted": access.unencrypted,
    }


def _depth(path: str) -> tuple[int, str]:
    return path.count("/") + path.count("\\"), path


def login_name(spec: EnvironmentSpec) -> str:
    """The primary user's name: as given, else ``ssh_config``'s for that host, else the current user's."""
    if spec.user is not None:
        return spec.user
    if spec.host_type is HostType.UNIX:
        return hops(SshTarget(host=spec.host))[-1].user
    return getpass.getuser()


def user_by_reference(environment: Environment, reference: str) -> EnvironmentUser:
    """The user of ``environment`` that has ``reference``; NotFound otherwise."""
    for user in environment.users:
        if user.reference == reference:
            return user
    raise NotFound(
        f"The environment {environment.name} has no user with the reference {reference!r}.",
        f"It has: {', '.join(f'{user.reference} ({user.name})' for user in environment.users)}.",
    )


def user_by_name(environment: Environment, name: str | None) -> EnvironmentUser:
    """The user of ``environment`` by name or reference; the primary one for None; NotFound otherwise."""
    if name is None:
        return environment.primary_user
    for user in environment.users:
        if name in (user.name, user.reference):
            return user
    raise _unknown_user(environment.name, name, [user.name for user in environment.users])


def unknown_environment(name: str, known: Iterable[str]) -> NotFound:
    """The error for a name or reference that no environment has."""
    return not_found("environment", name, known, "Add it first: dlpx-remote env add NAME --host …")


def not_found(what: str, name: str, known: Iterable[str], when_none: str) -> NotFound:
    """The error for a name that is not known: names the nearest known one, or all, or how to make one."""
    names = sorted(known)
    if not names:
        return NotFound(f"There is no {what} named {name!r}; there is none at all.", when_none)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return NotFound(f"There is no {what} named {name!r}.", f"Did you mean {near[0]!r}?")
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return NotFound(f"There is no {what} named {name!r}.", f"Known are: {listed}.")


def _unknown_user(environment: str, name: str, known: Iterable[str]) -> NotFound:
    return not_found(f"user of the environment {environment}", name, known, "")


def _row(session: Session, name: str) -> EnvironmentRow:
    found = session.scalars(
        select(EnvironmentRow).where(or_(EnvironmentRow.name == name, EnvironmentRow.reference == name))
    ).first()
    if found is None:
        raise unknown_environment(name, session.scalars(select(EnvironmentRow.name)).all())
    return found


def _user(row: EnvironmentRow, name: str) -> UserRow:
    for user in row.users:
        if name in (user.name, user.reference):
            return user
    raise _unknown_user(row.name, name, [user.name for user in row.users])


def stored_reference(reference: SecretReference | None) -> str | None:
    """A reference as the state keeps it: paths are absolute, as later commands may run elsewhere."""
    if reference is None:
        return None
    if reference.kind == "file":
        return f"file:{_absolute(reference.value)}"
    return str(reference)


def _absolute(path: str) -> str:
    """What a path means here and now: later commands may be run from another directory."""
    return str(Path(path).expanduser().absolute())


def _reference(text: str | None) -> SecretReference | None:
    return None if text is None else parse_secret_reference(text)


def _environment(row: EnvironmentRow) -> Environment:
    facts = row.facts
    return Environment(
        reference=row.reference,
        host_reference=row.host_reference,
        name=row.name,
        host=row.host,
        port=row.port,
        host_type=HostType(row.host_type),
        users=tuple(
            EnvironmentUser(
                reference=user.reference,
                name=user.name,
                authentication=Authentication(
                    agent=user.agent,
                    key=user.key_path,
                    passphrase_from=_reference(user.passphrase_from),
                    password_from=_reference(user.password_from),
                    certificate=user.certificate_path,
                    key_from=_reference(user.key_from),
                ),
                primary=user.is_primary,
            )
            for user in row.users
        ),
        jump=tuple(row.jump),
        host_key=row.host_key,  # type: ignore[arg-type]  # checked when it was added
        fingerprint=row.fingerprint,
        directory=row.directory,
        privilege=row.privilege,
        privilege_password_from=_reference(row.privilege_password_from),
        facts=None if facts is None else HostFacts.of(facts),
        windows=None
        if row.host_type != HostType.WINDOWS.value
        else WindowsAccess(
            scheme=row.scheme or "https",  # type: ignore[arg-type]  # checked when it was added
            login=row.login or "ntlm",  # type: ignore[arg-type]
            ca_file=row.ca_file,
            unencrypted=bool(row.unencrypted),
        ),
    )
