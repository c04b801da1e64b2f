"""What an account may do as root: the step of ``env test`` that says it, and what to allow where it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dlpx_remote.environments.model import StepOutcome
from dlpx_remote.transports.base import Connection, ShellFacts
from dlpx_remote.transports.privilege import Privilege, Privileged, PrivilegeRefused

PROGRAMS = ("mount", "umount", "mkdir", "rmdir")
"""What the engine itself runs as root on a host."""

_FOR_ALL = {"password refused", "no terminal"}


@dataclass(frozen=True)
class Verdict:
    """What the step says; see :class:`dlpx_remote.environments.model.TestStep`."""

    outcome: StepOutcome
    detail: str
    action: str = ""


def try_privileges(connection: Connection, privilege: Privilege) -> Verdict:
    """Try each of :data:`PROGRAMS` as root, harmlessly.

    Args:
        connection: of the account.
        privilege: how it becomes root.

    Raises:
        TransportError: the host could not be asked.
        SecretUnavailable: the password is not where it should be.
    """
    facts = connection.facts()
    if facts.uid == 0:
        return Verdict("ok", "not needed: the user is root")
    privileged = Privileged(connection, privilege)
    allowed: dict[str, str] = {}
    refused: dict[str, PrivilegeRefused] = {}
    for program in PROGRAMS:
        try:
            allowed[program] = privileged.allowed(program)
        except PrivilegeRefused as error:
            refused[program] = error
            if error.reason in _FOR_ALL:
                break
    if not refused:
        return Verdict("ok", f"by {privilege}: {_listed(allowed)}")
    return _too_little(privileged, privilege, facts, allowed, refused)


def _too_little(
    privileged: Privileged,
    privilege: Privilege,
    facts: ShellFacts,
    allowed: Mapping[str, str],
    refused: Mapping[str, PrivilegeRefused],
) -> Verdict:
    first = next(iter(refused.values()))
    if first.reason not in ("password needed", "not allowed"):
        return Verdict("warning", first.message, f"Discovery works without. {first.action}")
    detail = f"{facts.user} may not run {', '.join(refused)} as root by {privilege}"
    if first.reason == "password needed":
        detail += " without a password"
    if allowed:
        detail += f"; allowed: {_listed(allowed)}"
    action = f"Discovery works without; mounting does not. {privileged.advice(tuple(refused), facts)}"
    return Verdict("warning", detail, action)


def _listed(allowed: Mapping[str, str]) -> str:
    return ", ".join(
        program if extent == "allowed" else f"{program} ({extent.removeprefix('allowed ')})"
        for program, extent in allowed.items()
    )
