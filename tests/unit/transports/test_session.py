"""What a session sends to log in, and when; seen from the other end of a socket pair."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import threading
from collections.abc import Callable, Iterator

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from paramiko.common import MSG_SERVICE_REQUEST, MSG_USERAUTH_REQUEST
from paramiko.message import Message
from paramiko.packet import Packetizer

from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.session import Session, SessionLost


@contextlib.contextmanager
def logging_in() -> Iterator[tuple[Session, socket.socket]]:
    """A session right after its key exchange, with no thread that would read answers."""
    near, far = socket.socketpair()
    with near, far:
        session = Session(near)
        session.session_id = b"session"
        vars(session)["active"] = True
        session.begin_authentication(Deadline(5))
        yield session, far


@contextlib.contextmanager
def in_a_thread(work: Callable[[], object], session: Session) -> Iterator[None]:
    """``work`` waits for an answer until the session is over."""

    def until_lost() -> None:
        with contextlib.suppress(SessionLost):
            work()

    thread = threading.Thread(target=until_lost)
    thread.start()
    try:
        yield
    finally:
        vars(session)["active"] = False
        thread.join()


def ed25519_key() -> paramiko.PKey:
    text = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text.decode()))


def sent(far: socket.socket) -> list[int]:
    """The types of the messages that came in one piece."""
    far.settimeout(5)
    piece = far.recv(65536)
    near, writer = socket.socketpair()
    with near:
        with writer:
            writer.sendall(piece)
        reader, kinds = Packetizer(near), []
        with contextlib.suppress(EOFError):
            while True:
                kinds.append(reader.read_message()[0])
        return kinds


def test_the_service_is_asked_for_together_with_the_first_key_and_once() -> None:
    key = ed25519_key()
    with logging_in() as (session, far):
        with in_a_thread(lambda: session.offer_key("joe", key), session):
            assert sent(far) == [MSG_SERVICE_REQUEST, MSG_USERAUTH_REQUEST]
        vars(session)["active"] = True
        with in_a_thread(lambda: session.offer_key("joe", key), session):
            assert sent(far) == [MSG_USERAUTH_REQUEST]


def test_an_rsa_key_waits_for_what_the_host_says_of_signatures() -> None:
    key = paramiko.RSAKey.generate(2048)
    with logging_in() as (session, far), in_a_thread(lambda: session.offer_key("joe", key), session):
        assert sent(far) == [MSG_SERVICE_REQUEST]
        vars(session)["server_extensions"] = {"server-sig-algs": b"rsa-sha2-256"}
        session._note_service(Message())
        piece = far.recv(65536)
        assert b"rsa-sha2-256" in piece
        assert b"rsa-sha2-512" not in piece


def test_the_key_exchange_is_sent_only_after_the_host_has_named_its_version() -> None:
    near, far = socket.socketpair()
    with near, far:
        session = Session(near)
        session.start_client(event=threading.Event())
        far.settimeout(5)
        assert far.recv(65536) == session.local_version.encode() + b"\r\n"
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.recv(65536)
        far.settimeout(5)
        far.sendall(b"SSH-2.0-test\r\n")
        offer = far.recv(65536)
        assert b"curve25519-sha256" in offer
        session.end()


def test_the_key_exchange_that_costs_a_server_least_comes_first_and_curve25519_by_both_its_names() -> None:
    near, far = socket.socketpair()
    with near, far:
        offered = Session(near).get_security_options().kex
    hybrids = [name for name in offered if name.startswith(("mlkem", "sntrup"))]  # as paramiko has them
    assert list(offered[: len(hybrids)]) == hybrids
    others = offered[len(hybrids) :]
    assert others[:3] == ("ecdh-sha2-nistp256", "curve25519-sha256", "curve25519-sha256@libssh.org")
    assert len(set(offered)) == len(offered)


def test_ciphers_that_are_checked_as_they_are_decrypted_come_first_and_broken_ones_never() -> None:
    near, far = socket.socketpair()
    with near, far:
        options = Session(near).get_security_options()
        assert options.ciphers[0] == "aes128-gcm@openssh.com"
        assert not [name for name in options.ciphers if "cbc" in name]
        assert options.digests[0].endswith("-etm@openssh.com")
        assert not [name for name in options.digests if "md5" in name or "96" in name]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
def test_what_the_host_says_for_debugging_is_written_only_when_somebody_reads_it(
    level: int, caplog: pytest.LogCaptureFixture
) -> None:
    note = Message()
    note.add_boolean(True)
    note.add_string("key options: agent-forwarding")
    note.add_string("")
    near, far = socket.socketpair()
    with near, far, caplog.at_level(level, logger="dlpx_remote.transports.ssh.wire"):
        Session(near)._parse_debug(Message(note.asbytes()))
        assert ("key options" in caplog.text) is (level == logging.DEBUG)
