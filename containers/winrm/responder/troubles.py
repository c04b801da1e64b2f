"""What can go wrong on demand: which requests are hit, how often, and how.

Values and a queue only; the server carries them out.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

KINDS = {
    "fault": "HTTP 500 with the fault named by `fault`; nothing is carried out",
    "status": "the HTTP status `status` without a body; nothing is carried out",
    "unauthorized": "401 with the schemes of the host",
    "unknown-scheme": "401 with a scheme that nobody knows",
    "no-scheme": "401 without WWW-Authenticate",
    "empty": "carried out; 200 without a body",
    "not-soap": "carried out; 200 with a page of HTML",
    "broken-soap": "carried out; 200 with an envelope that ends in its middle",
    "wrong-message-id": "carried out; the reply relates to another message",
    "no-message-id": "carried out; the reply relates to nothing",
    "half-body": "carried out; half of the announced body, then the end of the connection",
    "half-chunk": "carried out; chunked, half a chunk, then the end of the connection",
    "cut-before": "the end of the connection; nothing is carried out",
    "cut-after": "carried out; the end of the connection instead of a reply",
    "silence-before": "nothing is carried out and nothing is said for `seconds` (0: ever)",
    "silence-after": "carried out; nothing is said for `seconds` (0: ever)",
    "half-then-silence": "carried out; half of the reply, then nothing for `seconds` (0: ever)",
    "slow": "carried out; the reply comes `seconds` later",
    "trickle": "carried out; the reply comes in 20 pieces over `seconds`",
    "bad-seal": "carried out; an encrypted reply whose signature does not fit",
    "unsealed": "carried out; a plain reply to an encrypted request",
    "unproven": "carried out; a login by Kerberos whose host does not prove itself",
}
"""Every kind, and what happens."""

BEFORE = {"fault", "status", "unauthorized", "unknown-scheme", "no-scheme", "cut-before", "silence-before"}
"""The kinds where the request is not carried out."""


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong.

    Attributes:
        kind: one of ``KINDS``.
        action: of the requests that are hit: ``Create``, ``Command``, ``Send``, ``Receive``, ``Signal``,
            ``Delete``, ``Identify``; ``*`` for any of them; ``HTTP`` for any HTTP request, before its sender
            is known (for the kinds that carry nothing out, and ``unproven``).
        after: that many of those requests pass first.
        times: that many are hit; 0 for all from there on.
        fault: name of a fault (``faults.BY_NAME``), or a number: a fault with that code.
        status: an HTTP status.
        seconds: of silence or delay.

    Raises:
        ValueError: no such kind, or a kind that needs a request which is carried out, with ``HTTP``.
    """

    kind: str
    action: str = "*"
    after: int = 0
    times: int = 1
    fault: str = "busy"
    status: int = 500
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"There is no trouble of the kind {self.kind!r}. There are: {', '.join(KINDS)}.")
        if self.action == "HTTP" and self.kind not in BEFORE - {"fault"} | {"unproven"}:
            raise ValueError(f"{self.kind!r} needs a request that has been read; name its action, or '*'.")


class Troubles:
    """The troubles that wait for their requests, in order. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Trouble, list[int]]] = []

    def add(self, trouble: Trouble) -> None:
        """Let it happen."""
        with self._lock:
            self._waiting.append((trouble, [0]))

    def clear(self) -> None:
        """Let nothing happen any more."""
        with self._lock:
            self._waiting.clear()

    @property
    def pending(self) -> tuple[Trouble, ...]:
        """Those that have not happened as often as they shall."""
        with self._lock:
            return tuple(
                trouble
                for trouble, seen in self._waiting
                if trouble.times == 0 or seen[0] < trouble.after + trouble.times
            )

    def take(self, action: str) -> Trouble | None:
        """The trouble that hits this request; the request counts for every trouble that it fits."""
        hit: Trouble | None = None
        with self._lock:
            for trouble, seen in self._waiting:
                if trouble.action != action and (trouble.action != "*" or action == "HTTP"):
                    continue
                due = seen[0] >= trouble.after
                left = trouble.times == 0 or seen[0] < trouble.after + trouble.times
                if not due:
                    seen[0] += 1
                elif left and hit is None:
                    seen[0] += 1
                    hit = trouble
        return hit
