"""A host in another process or container, seen through its control port."""

from __future__ import annotations

import dataclasses
import json
import urllib.error
import urllib.request
from typing import Any

from . import scenario
from .programs import Reply
from .records import Counts, Exchange
from .troubles import Trouble


class ControlError(Exception):
    """The control port refused; the text says why."""


class RemoteHost:
    """What :class:`~.host.WinRMHost` offers a test, as far as it can be said in JSON.

    Args:
        url: of the control port, such as ``http://127.0.0.1:5980``.
        limit: seconds for an answer.
    """

    def __init__(self, url: str, limit: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._limit = limit
        # Never through a proxy of the environment: it is a port of this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def add_user(self, name: str, password: str) -> None:
        """Add a user, or change a password."""
        self._ask("POST", "/users", {"name": name, "password": password})

    def when(
        self, pattern: str, answer: Reply, *, times: int | None = None, reads_stdin: bool | None = None
    ) -> None:
        """Add a rule, to be asked first."""
        self._ask("POST", "/rules", scenario.rule_record(pattern, answer, times, reads_stdin))

    def trouble(self, kind: str, action: str = "*", **changes: Any) -> None:
        """Let something go wrong; arguments as of :class:`~.troubles.Trouble`."""
        self._ask("POST", "/troubles", dataclasses.asdict(Trouble(kind, action, **changes)))

    def clear_troubles(self) -> None:
        """Let nothing go wrong any more."""
        self._ask("DELETE", "/troubles")

    def forget_shells(self) -> None:
        """Lose all shells, as a restart of the WinRM service does."""
        self._ask("POST", "/forget-shells")

    def cut_connections(self) -> None:
        """End all TCP connections that are open."""
        self._ask("POST", "/cut-connections")

    @property
    def counts(self) -> Counts:
        """Counts since the start."""
        return Counts(**self._ask("GET", "/counts"))

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The last conversations, the first first."""
        return tuple(
            Exchange(
                **{
                    **record,
                    "request": record["request"].encode(),
                    "reply": record["reply"].encode(),
                }
            )
            for record in self._ask("GET", "/exchanges")
        )

    @property
    def authority(self) -> bytes:
        """PEM of the authority that clients have to trust."""
        return str(self._ask("GET", "/about")["authority"]).encode()

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the server's certificate."""
        return str(self._ask("GET", "/about")["thumbprint"])

    def _ask(self, method: str, path: str, content: object = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=self._limit) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(json.load(error)["error"]) from error
