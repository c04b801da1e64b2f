"""What a host answers that it should not, in each step of a script, over HTTP and HTTPS.

The rest is where it belongs: certificates, ports and logins in ``test_connecting``, answers that are lost or
are none in ``test_troubles``, tickets in ``test_kerberos``. Each host looks at its own shells afterwards.
"""

from __future__ import annotations

import re
import time

import pytest

from containers.winrm.responder import Reply, Settings
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CommandTimeout,
    ConnectFailed,
    Deadlines,
    NotSent,
    OutcomeUnknown,
    TransportError,
)
from tests.hosts.winrm.conftest import WindowsFactory
from tests.hosts.winrm.test_troubles import Witness, still_works, witness
from tests.hosts.winrm.windows import Windows

CODE = "2150858770"
"""A fault that means nothing to the transport (0x80338012: the client cannot connect)."""


@pytest.mark.parametrize(
    ("action", "kind", "part"),
    [
        ("Command", ConnectFailed, "does not start a command for Administrator: A fault that was asked for"),
        ("Send", NotSent, "the host did not take it: A fault that was asked for"),
        ("Receive", OutcomeUnknown, "the host answered with a fault: A fault that was asked for"),
    ],
)
def test_a_fault_that_nobody_expects_is_passed_on_in_its_words(
    every_windows: Windows, action: str, kind: type[TransportError], part: str
) -> None:
    seen = Witness(every_windows)
    with every_windows.connect() as connection:
        every_windows.host.trouble("fault", action, fault=CODE)
        with pytest.raises(kind, match=part) as caught:
            witness(connection)
        assert isinstance(caught.value, NotSent) is (action != "Receive")
        assert seen.runs == (1 if action == "Receive" else 0)
        still_works(every_windows, connection)


def test_a_fault_at_the_login_is_passed_on_in_its_words(every_windows: Windows) -> None:
    every_windows.host.trouble("fault", "Create", fault=CODE)
    with pytest.raises(
        ConnectFailed, match="does not open a shell for Administrator: A fault that was asked for"
    ):
        every_windows.connect()
    assert every_windows.host.counts.shells == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_http_error_without_a_fault_is_told_of(windows_with: WindowsFactory, scheme: str) -> None:
    with windows_with(scheme=scheme) as windows:
        seen = Witness(windows)
        for action in ("Command", "Send", "Receive"):
            with windows.connect(deadlines=Deadlines(settle=0.5)) as connection:
                windows.host.trouble("status", action, status=500)
                if action == "Send":  # it says nothing about the script, which may have come
                    with pytest.raises((OutcomeUnknown, NotSent), match=r"HTTP status 500|was lost"):
                        witness(connection)
                elif action == "Command":
                    with pytest.raises(NotSent, match="HTTP status 500"):
                        witness(connection)
                else:
                    with pytest.raises(TransportError, match="HTTP status 500"):
                        witness(connection)
                still_works(windows, connection)
        assert seen.runs <= 3


def test_a_host_that_stops_in_the_middle_of_output(every_windows: Windows) -> None:
    every_windows.script("talk", Reply(stdout="0123456789" * 20, chunk=50, pause=0.01, hangs=True))
    with every_windows.connect(deadlines=Deadlines(total=1.0)) as connection:
        every_windows.host.trouble("half-then-silence", "Receive", after=1, seconds=0)
        began = time.monotonic()
        with pytest.raises((CommandTimeout, OutcomeUnknown)) as caught:
            connection.run("talk", interpreter="powershell")
        assert time.monotonic() - began < 60
        heard = (
            caught.value.stdout if isinstance(caught.value, CommandTimeout) else caught.value.output.encode()
        )
        assert heard.startswith(b"0123456789")
        still_works(every_windows, connection)


@pytest.mark.parametrize("fault", ["busy", "user-quota", "operation-quota", "command-quota"])
def test_a_host_without_room_just_now_is_asked_again_over_https_too(
    windows_with: WindowsFactory, fault: str
) -> None:
    with windows_with(scheme="https", authentication="basic") as windows:
        seen = Witness(windows)
        with windows.connect() as connection:
            assert connection.run("'first'", interpreter="powershell").exit_code == 0
            for turn, action in enumerate(
                ("Command", "Send", "Receive") if fault == "busy" else ("Command",)
            ):
                windows.host.trouble("fault", action, fault=fault)
                assert witness(connection) == b"ran\r\n"
                assert seen.runs == turn + 1


@pytest.mark.parametrize(("scheme", "skew"), [("https", 3600), ("http", -3600), ("https", -3600)])
def test_clocks_that_differ_are_told_of(windows_with: WindowsFactory, scheme: str, skew: int) -> None:
    with windows_with(scheme=scheme, settings=Settings(clock_skew=skew)) as windows:
        with pytest.raises(AuthenticationFailed) as caught:
            windows.connect(password=lambda: "another one")
        found = re.search(r"clock is (\d+) s (ahead of|behind) this machine's", caught.value.action)
        assert found is not None
        assert found[2] == ("ahead of" if skew > 0 else "behind")
        assert windows.host.counts.shells == 0
