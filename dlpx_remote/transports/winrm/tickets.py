"""What went wrong with a Kerberos ticket, where pywinrm tells it in part to its log only."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from dlpx_remote.transports.base import TransportError
from dlpx_remote.transports.winrm.errors import host_unproven, ticket_unusable
from dlpx_remote.transports.winrm.target import WinrmTarget

# Of pywinrm's own copy of requests_kerberos, which can be imported only where pykerberos is installed.
_LOGGER = "winrm.vendor.requests_kerberos"
_NO_TICKET, _NOT_PROVEN = "KerberosExchangeError", "MutualAuthenticationError"
_EXPIRED = 786432  # GSS_S_CONTEXT_EXPIRED (RFC 2744, section 3.9.1): until then the ticket was taken


class _Heard(logging.Handler):
    """Keeps the last GSSAPI error of each thread; with it, nothing of it is printed on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._last = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._last.error = record.exc_info[1]

    def take(self) -> BaseException | None:
        """The last one since the last call."""
        error: BaseException | None = getattr(self._last, "error", None)
        self._last.error = None
        return error


_heard = _Heard()
logging.getLogger(_LOGGER).addHandler(_heard)


def ticket_error(target: WinrmTarget, causes: Iterable[BaseException]) -> TransportError | None:
    """Our error, where a ticket is the reason.

    Args:
        target: where to.
        causes: what was raised, and what it was raised from.
    """
    for cause in causes:
        kind = type(cause).__name__
        if kind not in (_NO_TICKET, _NOT_PROVEN):
            continue
        said = _said(_heard.take() or cause)
        if kind == _NO_TICKET:
            return ticket_unusable(target, said[-1][0] if said else str(cause))
        if any(number == _EXPIRED for _, number in said):
            return ticket_unusable(target, "Ticket expired")
        return host_unproven(target)
    return None


def _said(error: BaseException) -> list[tuple[str, int]]:
    """GSSAPI's own words and number, then the mechanism's, which tell more."""
    said = [part for part in error.args if isinstance(part, tuple) and len(part) == 2]
    return [(" ".join(str(words).split()), number) for words, number in said if words]
