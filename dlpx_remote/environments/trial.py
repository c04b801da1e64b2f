"""A trial of an environment while it goes on: the steps so far, and what ends it early."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dlpx_remote.environments.model import HostFacts, StepOutcome, TestStep
from dlpx_remote.errors import RemoteError

_PORT_TIMEOUT = 10.0


@dataclass(frozen=True)
class Trial:
    """What ``env test`` found.

    Attributes:
        steps: one for each that there is for this kind of host.
        facts: what is known of the host now; None when nobody could log in.
        made: directories that did not exist before, outermost first.
    """

    steps: tuple[TestStep, ...]
    facts: HostFacts | None
    made: tuple[str, ...]


def tried(
    names: tuple[str, ...], on_step: Callable[[TestStep], None] | None, steps: Callable[[Steps], None]
) -> Trial:
    """Carry out a trial.

    Args:
        names: of all steps, in the order in which they are tried.
        on_step: called with each step when it ends.
        steps: tries one after another, until it is done or one raises :class:`Stop`.
    """
    trial = Steps(on_step or (lambda _step: None), began=time.monotonic())
    try:
        steps(trial)
    except Stop:
        trial.skip_rest(names)
    return Trial(tuple(trial.steps), trial.facts, trial.made)


class Stop(Exception):
    """What follows cannot be tried; the step that failed has been reported."""


@dataclass
class Steps:
    """The steps so far, and the one that runs."""

    report: Callable[[TestStep], None]
    steps: list[TestStep] = field(default_factory=list)
    began: float = 0.0
    facts: HostFacts | None = None
    made: tuple[str, ...] = ()

    def end(self, name: str, outcome: StepOutcome, detail: str = "", action: str = "") -> None:
        now = time.monotonic()
        step = TestStep(name, outcome, detail, action, now - self.began)
        self.began = now
        self.steps.append(step)
        self.report(step)

    @contextmanager
    def failing(self, name: str, *errors: type[RemoteError]) -> Iterator[None]:
        """One of ``errors`` fails the step ``name`` and stops the trial."""
        try:
            yield
        except errors as error:
            raise self.failed(name, error) from None

    def failed(self, name: str, error: RemoteError) -> Stop:
        """Report that the step ``name`` failed for ``error``; what stops the trial, to be raised."""
        self.end(name, "failed", error.message, error.action)
        return Stop()

    def skip_rest(self, names: tuple[str, ...]) -> None:
        """Every step of ``names`` that was not tried is skipped."""
        done = {step.name for step in self.steps}
        for name in names:
            if name not in done:
                self.end(name, "skipped", "an earlier step failed")

    def reach(self, host: str, port: int, service: str) -> None:
        """The steps "name resolves" and "port answers".

        Raises:
            Stop: one of them failed.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no host name"
            self.end(
                "name resolves",
                "failed",
                f"{host} has no address: {reason}",
                "Check the name for a typing error, and the name service of this machine.",
            )
            raise Stop from None
        numbers = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        self.end("name resolves", "ok", f"{host} is {', '.join(numbers)}")
        try:
            with socket.create_connection((host, port), timeout=_PORT_TIMEOUT):
                pass
        except OSError as error:
            silent = isinstance(error, TimeoutError)
            reason = "no answer" if silent else (error.strerror or str(error)).lower()
            self.end(
                "port answers",
                "failed",
                f"{host} port {port}: {reason}",
                f"Is {service} running there, is the port right, and does a firewall let it through?",
            )
            raise Stop from None
        self.end("port answers", "ok", f"port {port}")
