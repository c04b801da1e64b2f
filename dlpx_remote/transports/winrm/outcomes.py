"""How one exchange of messages can end other than well; and the faults that a host answers with.

Internal to the transport: the layers above turn these into the errors of the contract, for only they know
whether the script could have run by then.
"""

from __future__ import annotations

from dataclasses import dataclass

OPERATION_TIMEOUT = 2150858793
"""0x80338029: nothing came within the request's own time-out; a Receive may simply be repeated."""

NOT_FOUND = 2150858843
"""0x8033805B: no such shell, or no such command in it."""

ACCESS_DENIED = 5
ENVELOPE_TOO_LARGE = (2150858824, 2150858846)
_HURRY = 2150859175  # 0x803381A7: too many requests in a time
QUOTAS = (
    2150859173,  # 0x803381A5: shells
    2150859174,  # 0x803381A6: operations
    _HURRY,
    2150859241,  # 0x803381E9: commands in a shell
)
"""Faults that say that one user has too much of something open."""

BUSY = 170
"""The shell's provider is at work; the request was not taken."""


@dataclass(frozen=True)
class Fault:
    """What a host said instead of doing it.

    Attributes:
        code: of ``WSManFault``, else None.
        reason: its own words.
        status: of HTTP.
        subcode: of SOAP, without its prefix.
    """

    code: int | None
    reason: str
    status: int = 500
    subcode: str = ""

    @property
    def is_quota(self) -> bool:
        """One user has too much open, or asks too often."""
        return self.code in QUOTAS or self.subcode == "QuotaLimit"  # some come without a code

    @property
    def is_hurry(self) -> bool:
        """The host wants to be left alone for a moment; nothing needs to be ended for that."""
        return self.code in (BUSY, _HURRY)

    @property
    def is_passing(self) -> bool:
        """The host had no room for the request just now; it was not taken."""
        return self.code == BUSY or self.is_quota

    @property
    def in_words(self) -> str:
        """For people, without a full stop."""
        reason = " ".join(self.reason.split()).rstrip(".")
        if self.code is None:
            return reason or f"HTTP status {self.status}"
        return f"{reason} (fault {self.code})" if reason else f"fault {self.code}"


class Refused(Exception):
    """The host answered with a fault: it did not do what was asked.

    Attributes:
        fault: what it said.
        response: the envelope, where there is one.
    """

    def __init__(self, fault: Fault, response: str | None = None) -> None:
        super().__init__(fault.in_words)
        self.fault = fault
        self.response = response


class Unanswered(Exception):
    """No answer came that can be understood.

    Attributes:
        reason: why, in words that follow "the connection to the host was lost:", without a full stop.
        sent: False when the host cannot have seen the whole request.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class Strange(Unanswered):
    """Something answered, but not as WinRM does; where it never did, it is none."""


class OutOfTime(Unanswered):
    """The deadline passed before an answer had come."""
