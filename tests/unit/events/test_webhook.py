"""Events on their way to a webhook: a real HTTP server of the test's that takes, refuses, or says nothing."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dlpx_remote import engine_events
from dlpx_remote.engine import Engine
from dlpx_remote.engine_events import Webhook
from dlpx_remote.environments.model import SecretReference
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.redaction import MASK, REDACTOR
from dlpx_remote.store.outbox import Outbox
from dlpx_remote.transports.webhook import WebhookFailed, post
from tests.unit.cli.conftest import CommandLine, command

__all__ = ["command"]

SECRET = "open-sorghum-for-the-webhook"


class Receiver(ThreadingHTTPServer):
    """Keeps what it is told, and answers with ``status``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?x=1"

    def events(self) -> list[str]:
        return [json.loads(body)["event"] for _, body in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("HOOK", SECRET)
    with Engine(tmp_path / "state") as opened:
        opened._workflows["fine"] = lambda job, request: None
        opened._workflows["bad"] = fail
        yield opened


def fail(job: Job, request: Request) -> None:
    raise InvalidRequest("It cannot be.", "Mend it.")


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def put(engine: Engine, kind: str, **details: object) -> None:
    Outbox(engine._store).put(kind, details)


def test_jobs_are_told_of_when_they_begin_and_end(engine: Engine, receiver: Receiver) -> None:
    engine.events.configure(Webhook(receiver.url, secret_from=SecretReference("env", "HOOK")))
    engine.jobs.follow(engine.jobs.submit("fine", {}, "do it", object="orders"))
    engine.jobs.follow(engine.jobs.submit("bad", {}, "do what cannot be"))
    engine.jobs.cancel(engine.jobs.submit("fine", {}, "never", detach=True))
    assert engine.events.status().waiting == 5

    assert engine.events.deliver(datetime.now(UTC)) == 5

    assert receiver.events() == ["job.started", "job.ended"] * 2 + ["job.ended"]
    bodies = [json.loads(body) for _, body in receiver.got]
    assert [body["details"]["state"] for body in bodies] == [
        *("running", "succeeded", "running", "failed", "cancelled"),
    ]
    assert bodies[1]["details"]["object"] == "orders"
    assert (bodies[3]["details"]["error"], bodies[3]["details"]["action"]) == ("It cannot be.", "Mend it.")
    assert len({body["id"] for body in bodies}) == 5
    for headers, body in receiver.got:
        signed = headers["X-Dlpx-Remote-Timestamp"].encode() + b"." + body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert headers["X-Dlpx-Remote-Signature"] == f"sha256={expected}"
        assert SECRET.encode() not in body
    assert engine.events.deliver(datetime.now(UTC)) == 0, "each is told once"


def test_nothing_is_kept_for_nobody(engine: Engine) -> None:
    put(engine, "host.rebooted", environment="db1")
    assert engine.events.status() == engine_events.EventsStatus(None, 0, "")


def test_secrets_are_masked_before_they_are_kept(engine: Engine, receiver: Receiver) -> None:
    engine.events.configure(Webhook(receiver.url))
    REDACTOR.register("open-teff-in-an-event")
    put(engine, "job.ended", error='it said "open-teff-in-an-event"', more=["open-teff-in-an-event"])

    engine.events.deliver(datetime.now(UTC))

    details = json.loads(receiver.got[0][1])["details"]
    assert details == {"error": f'it said "{MASK}"', "more": [MASK]}


def test_what_is_refused_is_tried_again_later_and_later_until_it_is_given_up(
    engine: Engine, receiver: Receiver
) -> None:
    engine.events.configure(Webhook(receiver.url))
    put(engine, "host.rebooted", environment="db1")
    receiver.status = 500
    now = datetime.now(UTC)

    engine.events.deliver(now)
    assert "answered with status 500" in engine.events.status().error
    engine.events.deliver(now + timedelta(seconds=4))
    assert len(receiver.got) == 1, "a pause is kept"
    engine.events.deliver(now + timedelta(seconds=6))
    engine.events.deliver(now + timedelta(seconds=12))
    assert len(receiver.got) == 2, "the second pause is longer"
    receiver.status = 200
    assert engine.events.deliver(now + timedelta(seconds=30)) == 1
    assert len({json.loads(body)["id"] for _, body in receiver.got}) == 1

    receiver.status = 500
    put(engine, "host.rebooted", environment="db1")
    engine.events.deliver(datetime.now(UTC) + timedelta(days=2))
    assert engine.events.status().waiting == 0


def test_events_outlive_the_process_and_one_worker_takes_each(engine: Engine, receiver: Receiver) -> None:
    engine.events.configure(Webhook(receiver.url))
    put(engine, "host.rebooted", environment="db1")
    now = datetime.now(UTC)
    outbox = Outbox(engine._store)

    taken = outbox.take(now)
    assert taken is not None
    assert outbox.take(now) is None, "another one leaves it to who has it"
    with Engine(engine._store.directory) as next_one:  # the first was killed before it had sent it
        assert next_one.events.deliver(now + timedelta(minutes=3)) == 1
    assert json.loads(receiver.got[0][1])["id"] == taken.identifier


def test_a_dead_or_silent_receiver_slows_no_job(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with silent() as url:
        engine.events.configure(Webhook(url))
        monkeypatch.setattr(engine_events, "post", functools.partial(post, timeout=0.5))
        stop, said = threading.Event(), list[str]()
        telling = threading.Thread(target=engine.events.work, args=(stop, said.append))
        telling.start()
        put(engine, "host.rebooted", environment="db1")
        for _ in range(3):
            assert engine.jobs.follow(engine.jobs.submit("fine", {}, "do it")).state == "succeeded"
        stop.set()
        telling.join(timeout=60)
    assert not telling.is_alive()
    assert engine.events.status().waiting == 7, "nothing is lost"
    assert said == []


def test_a_receiver_that_never_ends_its_answer_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(WebhookFailed, match="did not take an event"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, timeout=0.5)
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("webhook", "words"),
    [
        (Webhook(), "one address"),
        (Webhook("ftp://x/"), "no address of an HTTP server"),
        (Webhook("nonsense"), "no address of an HTTP server"),
        (Webhook("https://a:b@x/"), "user or password"),
        (Webhook("https://x/", secret_from=SecretReference("prompt")), "nobody can be asked"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(engine: Engine, webhook: Webhook, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        engine.events.configure(webhook)
    assert caught.value.action


def test_the_commands_configure_test_show_and_switch_off(
    command: CommandLine, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", SECRET)
    monkeypatch.setenv("URL_OF_HOOK", receiver.url)
    state = ("--state", str(tmp_path / "own"))

    nothing = command(*state, "events", "test")
    command(*state, "events", "configure", "--url-from", "env:URL_OF_HOOK", "--secret-from", "env:HOOK")
    tested = command(*state, "events", "test")
    shown = command(*state, "events", "show")
    off = command(*state, "events", "off")

    assert nothing.code == 2
    assert "events configure --url URL" in nothing.err
    assert tested.out == "The webhook took it.\n", tested.err
    assert receiver.events() == ["test"]
    assert "env:URL_OF_HOOK" in shown.out
    assert "waiting:  0" in shown.out
    assert off.code == 0
    assert "No webhook is told." in command(*state, "events", "show").out
