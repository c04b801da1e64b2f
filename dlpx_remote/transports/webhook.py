"""Telling an HTTP server something, once: it takes it in time, or an error says why not.

Redirects are not followed, since what is sent is signed for one receiver.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from dlpx_remote.errors import InvalidRequest, RemoteError

TIMEOUT = 10.0
"""Seconds in all that a receiver may take."""


class WebhookFailed(RemoteError):
    """The receiver did not take it."""


def check_url(url: str) -> None:
    """Refuse what is no address of an HTTP server.

    Raises:
        InvalidRequest: without repeating the address, which may hold a secret.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidRequest(
            "That is no address of an HTTP server.", "Write it as https://host.example.com/path."
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(
            "There is a user or password in the address of the webhook.",
            "Leave it out: requests are signed with --secret-from. If the address itself is the secret, keep "
            "it elsewhere and name the place with --url-from.",
        )


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float = TIMEOUT) -> None:
    """Send ``body``, and wait until the receiver has said that it has it.

    Args:
        url: of the receiver.
        body: what to send.
        headers: of the request.
        timeout: seconds in all.

    Raises:
        WebhookFailed: it did not answer in time, or with another status than 2xx.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    end = threading.Timer(timeout, _cut, (connection,))  # one byte a second would outlast any other timeout
    end.daemon = True
    end.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise WebhookFailed(
            f"The webhook at {parts.hostname} did not take an event: {error or type(error).__name__}.",
            "See whether it runs, and its certificate; dlpx-remote events test tries it.",
        ) from None
    finally:
        end.cancel()
        connection.close()
    if not 200 <= status < 300:
        raise WebhookFailed(
            f"The webhook at {parts.hostname} answered with status {status}.",
            "See what it says in its own log; dlpx-remote events test tries it.",
        )


def _cut(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
