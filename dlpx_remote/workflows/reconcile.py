"""Comparing what a plugin found with what was known: a pure function of values, without hosts or state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.workflows.report import Change


class DuplicateIdentity(RemoteError):
    """A plugin returned two objects that its own schema calls the same."""


@dataclass(frozen=True)
class Found:
    """An object that a plugin returned, already checked against its schema.

    Attributes:
        name: from the schema's name field.
        identity: the identity fields and their values.
        parameters: everything the plugin returned.
        children: the source configs of a repository.
    """

    name: str
    identity: Mapping[str, Any]
    parameters: Mapping[str, Any]
    children: tuple[Found, ...] = ()


@dataclass(frozen=True)
class Known:
    """An object in the state.

    Attributes:
        reference: what the state calls it.
        name, identity, parameters: as in :class:`Found`.
        present: False when the last discovery did not find it.
        manual: a person added it; discovery neither changes it nor finds it gone.
        last_seen: when a discovery, or the person who added it, last saw it.
    """

    reference: str
    name: str
    identity: Mapping[str, Any]
    parameters: Mapping[str, Any]
    present: bool
    manual: bool
    last_seen: datetime


@dataclass(frozen=True)
class Match:
    """One object after comparing. ``known`` is None for ``new``; ``found`` is None for what was not found."""

    change: Change
    known: Known | None
    found: Found | None

    @property
    def new(self) -> Found:
        """What was found, of an object that was not known."""
        if self.found is None:
            raise ValueError("only what was found can be new")
        return self.found


def reconcile(
    known: Sequence[Known], found: Sequence[Found], started: datetime, what: str = "objects"
) -> list[Match]:
    """Compare by identity.

    Args:
        known: what the state has, gone objects included.
        found: what the plugin returned.
        started: when this discovery began. What another discovery has seen since then is not taken as gone.
        what: how the message calls several of them.

    Returns:
        First what was found, in the plugin's order: ``new``, ``changed``, ``unchanged``, ``returned`` (it was
        gone), or ``manual`` (a person's entry, which stays as it is). Then what was not found: ``manual``
        entries, and ``gone`` for what was there before this discovery. What had been gone before and was not
        found again is left out, for nothing changes.

    Raises:
        DuplicateIdentity: two of ``found`` have one identity.
    """
    check_identities(found, what)
    by_identity = {digest(entry.identity): entry for entry in known}
    matches = [_compare(by_identity.pop(digest(entry.identity), None), entry) for entry in found]
    for entry in known:
        if digest(entry.identity) not in by_identity:
            continue
        if entry.manual:
            matches.append(Match("manual", entry, None))
        elif entry.present and entry.last_seen > started:
            matches.append(Match("unchanged", entry, None))
        elif entry.present:
            matches.append(Match("gone", entry, None))
    return matches


def _compare(known: Known | None, found: Found) -> Match:
    if known is None:
        return Match("new", None, found)
    if known.manual:
        return Match("manual", known, found)
    if not known.present:
        return Match("returned", known, found)
    same = known.name == storable(found.name) and canonical(known.parameters) == canonical(found.parameters)
    return Match("unchanged" if same else "changed", known, found)


def check_identities(found: Iterable[Found], what: str) -> None:
    """Raise DuplicateIdentity when two objects have one identity."""
    names: dict[str, str] = {}
    for entry in found:
        key = digest(entry.identity)
        if key in names:
            shown = json.dumps(entry.identity, ensure_ascii=False, sort_keys=True)
            raise DuplicateIdentity(
                f"The plugin returned two {what} with one identity, {names[key]!r} and {entry.name!r}: "
                f"{shown}.",
                "Its schema's identityFields must tell them apart, or the plugin must return one only.",
            )
        names[key] = entry.name


def canonical(value: Any) -> str:
    """One text for equal values: keys sorted, ``1.0`` written as ``1`` (they are one number in JSON)."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical identity."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()


def storable(name: str) -> str:
    """A name as every database takes it: JSON allows NUL and lone surrogates, text columns do not."""
    return name.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
