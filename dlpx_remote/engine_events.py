"""The engine's Python API for events: which webhook is told of them, and telling it, which workers do."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dlpx_remote.environments.model import SecretReference
from dlpx_remote.environments.registry import stored_reference
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.environments.validation import parse_secret_reference
from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.redaction import redact
from dlpx_remote.store import Settings, Store
from dlpx_remote.store.outbox import WEBHOOK, Event, Outbox
from dlpx_remote.transports.webhook import check_url, post

__all__ = ["Events", "EventsStatus", "Webhook"]

_LOG = logging.getLogger(__name__)
PATIENCE = timedelta(hours=24)
"""How long an event is tried."""
_FIRST, _LONGEST = 5.0, 300.0  # seconds between attempts
_LOOK = 1.0


@dataclass(frozen=True)
class Webhook:
    """Who is told.

    Attributes:
        url: the address; None where ``url_from`` says where that is.
        url_from: for an address that is itself a secret.
        secret_from: where the secret is that requests are signed with; None signs nothing.
    """

    url: str | None = None
    url_from: SecretReference | None = None
    secret_from: SecretReference | None = None


@dataclass(frozen=True)
class EventsStatus:
    """The webhook, and what waits for it.

    Attributes:
        webhook: who is told; None where nobody is.
        waiting: events that it has not taken yet.
        error: why the last attempt failed.
    """

    webhook: Webhook | None
    waiting: int
    error: str


class Events:
    """Events: ``engine.events``.

    Args:
        store: the opened state.
        secrets: finds the secret that requests are signed with.
    """

    def __init__(self, store: Store, secrets: Secrets) -> None:
        self._settings = Settings(store)
        self._outbox = Outbox(store)
        self._secrets = secrets
        self._quiet_until = datetime.min.replace(tzinfo=UTC)

    def configure(self, webhook: Webhook) -> None:
        """Tell this webhook from now on.

        Raises:
            InvalidRequest: it has no address, or two, or one that cannot be.
        """
        if (webhook.url is None) == (webhook.url_from is None):
            raise InvalidRequest("A webhook has one address.", "Give either --url or --url-from.")
        if webhook.url is not None:
            check_url(webhook.url)
        if "prompt" in {place.kind for place in (webhook.url_from, webhook.secret_from) if place}:
            raise InvalidRequest(
                "Workers tell the webhook, and nobody can be asked there.",
                "Say where it is: env:VARIABLE, file:PATH, vault:MOUNT/PATH#KEY or credential:NAME.",
            )
        self._settings.set(
            WEBHOOK,
            {
                "url": webhook.url,
                "url_from": stored_reference(webhook.url_from),
                "secret_from": stored_reference(webhook.secret_from),
            },
        )

    def off(self) -> None:
        """Tell nobody, and forget what waits."""
        self._settings.remove(WEBHOOK)
        self._outbox.clear()

    def status(self) -> EventsStatus:
        """Who is told, and what waits."""
        waiting, error = self._outbox.waiting()
        return EventsStatus(self._webhook(), waiting, error)

    def test(self) -> None:
        """Send an event of the kind ``test`` now.

        Raises:
            InvalidRequest: no webhook is configured.
            WebhookFailed: it did not take the event.
            SecretUnavailable: the secret is not where it should be.
        """
        webhook = self._webhook()
        if webhook is None:
            raise InvalidRequest(
                "No webhook is configured.", "Name one: dlpx-remote events configure --url URL"
            )
        self._send(webhook, Event(str(uuid.uuid4()), "test", datetime.now(UTC), {}, 1))

    def deliver(self, now: datetime) -> int:
        """Send what is due; how many events the webhook took. A failure ends it until the next pause is over.

        Args:
            now: this moment.
        """
        webhook = self._webhook()
        if webhook is None or now < self._quiet_until:
            return 0
        taken = 0
        while (event := self._outbox.take(now)) is not None:
            try:
                self._send(webhook, event)
            except RemoteError as error:
                self._put_back(event, now, error)
                break
            self._outbox.sent(event.identifier)
            taken += 1
        dropped = self._outbox.trim() if taken == 0 else 0
        if dropped:
            _LOG.warning("%s events were dropped, as too many wait for the webhook", dropped)
        return taken

    def work(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        """Tell the webhook until ``stop`` is set, and once more then.

        Args:
            stop: ends it.
            say: told in a sentence when something goes wrong.
        """
        while True:
            last = stop.wait(_LOOK)
            try:
                self.deliver(datetime.now(UTC))
            except RemoteError as error:
                say(redact(str(error)))
            if last:
                return

    def _put_back(self, event: Event, now: datetime, error: RemoteError) -> None:
        pause = min(_FIRST * 2 ** min(event.attempts - 1, 10), _LONGEST)
        self._quiet_until = now + timedelta(seconds=pause)
        _LOG.warning("event %s %s: %s", event.kind, event.identifier, error)
        if now - event.time > PATIENCE:
            _LOG.error("event %s %s is given up", event.kind, event.identifier)
            self._outbox.sent(event.identifier)
            return
        self._outbox.failed(event.identifier, self._quiet_until, str(error))

    def _send(self, webhook: Webhook, event: Event) -> None:
        url = webhook.url
        if webhook.url_from is not None:
            url = self._secrets.resolve(webhook.url_from, "address of the webhook")
            check_url(url)
        body = json.dumps(
            {
                "id": event.identifier,
                "event": event.kind,
                "time": event.time.isoformat(),
                "engine": socket.gethostname(),
                "details": dict(event.details),
            },
            ensure_ascii=False,
        ).encode()
        sent = str(int(datetime.now(UTC).timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "dlpx-remote",
            "X-Dlpx-Remote-Event": event.kind,
            "X-Dlpx-Remote-Id": event.identifier,
            "X-Dlpx-Remote-Timestamp": sent,
        }
        if webhook.secret_from is not None:
            secret = self._secrets.resolve(webhook.secret_from, "secret of the webhook")
            signature = hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256)
            headers["X-Dlpx-Remote-Signature"] = f"sha256={signature.hexdigest()}"
        post(url or "", body, headers)

    def _webhook(self) -> Webhook | None:
        known = self._settings.get(WEBHOOK)
        if known is None:
            return None
        places = [
            None if known[name] is None else parse_secret_reference(known[name])
            for name in ("url_from", "secret_from")
        ]
        return Webhook(known["url"], *places)
