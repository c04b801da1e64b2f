"""Names of paramiko that we rely on and that it does not promise: a release that changes one fails here."""

from __future__ import annotations

import inspect
import re
import socket
import threading
from typing import Any

import paramiko
import pytest
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.buffered_pipe import BufferedPipe
from paramiko.packet import Packetizer

from dlpx_remote.transports.ssh.bulk import Pieces
from dlpx_remote.transports.ssh.packets import quiet
from dlpx_remote.transports.ssh.session import Session
from dlpx_remote.transports.ssh.wakeup import Wakeup


def test_an_idle_session_wakes_up_as_rarely_as_we_say() -> None:
    assert paramiko.Transport._active_check_timeout == 0.1  # type: ignore[attr-defined]
    near, far = socket.socketpair()
    with near, far:
        Session(near, alive=45)
        assert near.gettimeout() == quiet(45) == 30


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (paramiko.Transport, "_send_message"),
        (paramiko.Transport, "_send_user_message"),
        (paramiko.Transport, "_parse_disconnect"),
        (paramiko.Transport, "_parse_debug"),
        (paramiko.Transport, "_log"),
        (paramiko.Transport, "_filter_algorithm"),
        (paramiko.Transport, "_send_kex_init"),
        (paramiko.Transport, "_check_banner"),
        (paramiko.Channel, "_event_pending"),
        (paramiko.Channel, "_wait_for_send_window"),
        (AuthOnlyHandler, "send_auth_request"),
        (AuthOnlyHandler, "_parse_userauth_failure"),
        (BufferedPipe, "set_event"),
        (Packetizer, "_trigger_rekey"),
        (Packetizer, "read_message"),
        (paramiko.SSHConfig, "_lookup"),
        (paramiko.SSHConfig, "_does_match"),
        (paramiko.SSHConfig, "_pattern_matches"),
        (paramiko.SSHConfig, "_tokenize"),
        (paramiko.SSHConfig, "_allowed_tokens"),
        (Packetizer, "read_all"),
        (Packetizer, "readline"),
        (Packetizer, "write_all"),
        (Packetizer, "need_rekey"),
    ],
)
def test_a_private_name_is_still_there(owner: type, name: str) -> None:
    assert callable(getattr(owner, name))


def test_messages_are_read_and_written_through_what_we_replace() -> None:
    reading, writing = (
        inspect.getsource(getattr(Packetizer, name)) for name in ("read_message", "send_message")
    )
    assert "self.read_all(" in reading
    assert "self.__socket" not in reading
    assert "self.write_all(out)" in writing
    assert "self.__write_lock.acquire()" in writing
    assert "self.packetizer.readline(" in inspect.getsource(paramiko.Transport._check_banner)  # type: ignore[attr-defined]


def test_a_session_takes_turns_in_writing_by_a_lock_that_can_be_tried() -> None:
    near, far = socket.socketpair()
    with near, far:
        lock = Session(near).packets._Packetizer__write_lock  # type: ignore[attr-defined]
        assert lock.acquire(blocking=False)
        assert lock.acquire(blocking=False)  # again in the same thread


def test_the_key_exchange_begins_as_we_begin_it() -> None:
    run = inspect.getsource(paramiko.Transport.run)
    assert run.index("self._check_banner()") < run.index("self._send_kex_init()")
    assert "self.local_kex_init = self._latest_kex_init" in inspect.getsource(
        paramiko.Transport._send_kex_init  # type: ignore[attr-defined]
    )
    assert "self.local_kex_init = self.remote_kex_init = None" in inspect.getsource(
        paramiko.Transport._parse_newkeys  # type: ignore[attr-defined]
    )


def test_the_key_exchange_is_chosen_from_what_we_say() -> None:
    assert "self._kex_info[" in inspect.getsource(paramiko.Transport._parse_kex_init)  # type: ignore[attr-defined]
    assert set(Session._preferred_kex) == set(paramiko.Transport._preferred_kex) | {"curve25519-sha256"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["ciphers", "macs"])
def test_our_algorithms_are_all_known(kind: str) -> None:
    ours = getattr(Session, f"_preferred_{kind}")
    assert set(ours) <= set(getattr(paramiko.Transport, f"_preferred_{kind}"))


def test_a_session_dispatches_to_handlers_of_its_own() -> None:
    near, far = socket.socketpair()
    with near, far:
        session = Session(near)
        handlers = session._handler_table  # type: ignore[attr-defined]
        assert handlers is not getattr(paramiko.Transport, "_handler_table", None)
        assert handlers[paramiko.common.MSG_SERVICE_ACCEPT] == session._note_service


def test_a_parsed_configuration_can_be_shared_by_lookups() -> None:
    assert paramiko.SSHConfig.from_text("Host a")._config  # type: ignore[attr-defined]


def test_a_session_offers_certificates_first_where_one_is_wanted() -> None:
    assert "self.preferred_keys" in inspect.getsource(paramiko.Transport._send_kex_init)  # type: ignore[attr-defined]
    near, far = socket.socketpair()
    with near, far:
        session = Session(near)
        assert not any("cert" in name for name in session.preferred_keys)
        session.certificates_first = True
        first, *_, last = session.preferred_keys
        assert first.endswith("-cert-v01@openssh.com")
        assert first in session._key_info  # type: ignore[attr-defined]
        assert "cert" not in last


def test_the_algorithm_of_an_authority_s_signature_is_told() -> None:
    from cryptography.hazmat.primitives.serialization import SSHCertificate

    assert "_inner_sig_type" in inspect.getsource(SSHCertificate.verify_cert_signature)


def test_login_requests_pass_through_the_method_that_we_replace() -> None:
    for method in ("auth_publickey", "auth_password", "auth_interactive"):
        assert "self.send_auth_request(" in inspect.getsource(getattr(AuthOnlyHandler, method))


def test_a_buffer_wakes_its_reader_on_data_and_on_its_end() -> None:
    channel = paramiko.Channel(0)
    wakeup = Wakeup(channel)
    assert not wakeup.wait(0)
    channel.in_buffer.feed(b"x")
    channel.in_stderr_buffer.feed(b"y")
    assert wakeup.wait(0)
    channel.in_buffer.read(10)  # empties one buffer, which must not take away the other's news
    channel.in_stderr_buffer.feed(b"z")
    channel.in_buffer.feed(b"x")
    channel.in_buffer.read(10)
    assert wakeup.wait(0)
    assert not wakeup.wait(0)
    threading.Thread(target=channel.in_stderr_buffer.close).start()
    assert wakeup.wait(5)


def test_a_packetizer_keeps_what_we_share_with_it_under_the_same_names() -> None:
    near, far = socket.socketpair()
    with near, far:
        packetizer: Any = Packetizer(near)
        assert packetizer._Packetizer__sequence_number_in == 0
        assert packetizer._Packetizer__sequence_number_out == 0
        with packetizer._Packetizer__write_lock, packetizer._Packetizer__write_lock:
            """Whoever holds it may write."""


def test_a_cipher_comes_with_what_we_need_to_use_it_ourselves() -> None:
    for way, method in (("in", "_activate_inbound"), ("out", "_activate_outbound")):
        source = inspect.getsource(getattr(paramiko.Transport, method))
        for argument in ("block_engine=engine", "aead=aead", f"iv_{way}=iv_{way} if aead else None"):
            assert argument in source


def test_a_channel_asks_of_its_buffer_what_ours_has() -> None:
    methods = {name for name in vars(BufferedPipe) if not name.startswith("_")} | {"__len__"}
    assert methods <= set(vars(Pieces))
    assert not re.search(r"in_(stderr_)?buffer\._", inspect.getsource(paramiko.channel))
