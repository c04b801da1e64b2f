"""What can be seen of work on a host: ``--verbose``, the log, figures; and that no secret is in any of it."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from dlpx_remote.engine import (
    Authentication,
    DiscoveryEvent,
    Engine,
    EnvironmentSpec,
    Figures,
    OutcomeUnknown,
    RemoteError,
    SecretReference,
    TraceEvent,
)
from dlpx_remote.transports.base import AuthenticationFailed, CommandTimeout, CredentialUnusable
from tests.hosts.engine_plugin import CODE, write_plugin
from tests.hosts.sshd import PasswordSshd, Sshd
from tests.secret_scan import SCAN, look, remember, secret

COMMAND = Path(sys.executable).parent / "dlpx-remote"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    """A real sshd on loopback."""
    (tmp_path / "sshd").mkdir()
    with Sshd(tmp_path / "sshd") as running:
        yield running


def _spec(server: Sshd, name: str = "db1", **changes: object) -> EnvironmentSpec:
    values: dict[str, object] = {
        "name": name,
        "host": server.address,
        "port": server.port,
        "user": server.user,
        "authentication": Authentication(key=str(server.user_key)),
        "fingerprint": server.fingerprint(),
        **changes,
    }
    return EnvironmentSpec(**values)  # type: ignore[arg-type]


class TestVerbose:
    @pytest.fixture
    def state(self, tmp_path: Path, server: Sshd, clean_home: Path) -> Path:
        """A state with one environment and one plugin."""
        (tmp_path / "place" / "one").mkdir(parents=True)
        with Engine(tmp_path / "state") as engine:
            engine.add_environment(_spec(server))
            engine.add_plugin(write_plugin(tmp_path / "plugin", tmp_path / "place"))
        return tmp_path / "state"

    def _command(self, state: Path, *words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(COMMAND), "--state", str(state), *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        look(done.stdout + done.stderr, f"what `dlpx-remote {words}` printed")
        return done

    @pytest.mark.parametrize("command", [("run", "db1", "echo here"), ("discover",), ("env", "test", "db1")])
    def test_ends_with_a_line_for_each_host(
        self, command: tuple[str, ...], state: Path, server: Sshd
    ) -> None:
        done = self._command(state, "--verbose", *command)
        assert done.returncode == 0, done.stderr
        last = done.stderr.splitlines()[-1]
        address = re.escape(f"{server.user}@{server.address}:{server.port}")
        assert re.fullmatch(
            rf"{address}: connected in [\d.]+ s \(login [\d.]+ s\), \d+ commands? in [\d.]+ s, "
            r"[\d.]+ \w+ sent, [\d.]+ \w+ received\.",
            last,
        ), done.stderr

    def test_logs_every_stage_with_its_time(self, state: Path, server: Sshd) -> None:
        lines = self._command(state, "--verbose", "run", "db1", "exit 3").stderr.splitlines()
        for stage in ("resolve", "connect", "handshake", "host key", "auth", "run", "close"):
            place = re.escape(f"{server.user}@{server.address}:{server.port} {stage} complete in ")
            assert any(
                re.match(rf"DEBUG dlpx_remote\.transports\.ssh: {place}[\d.]+ s", line) for line in lines
            )
        assert any(line.endswith(": exit code 3") for line in lines)

    def test_says_of_a_host_that_refused_how_far_it_came(self, state: Path, server: Sshd) -> None:
        server.authorized_keys.write_text("")
        done = self._command(state, "--verbose", "run", "db1", "true")
        assert done.returncode != 0
        assert "auth failed in" in done.stderr
        assert re.search(r": not connected in [\d.]+ s \(login [\d.]+ s\)\.$", done.stderr, re.MULTILINE)

    def test_without_it_nothing_of_that_is_printed(self, state: Path) -> None:
        assert self._command(state, "run", "db1", "echo here").stderr == ""


def test_figures_of_each_job_come_through_the_python_api(
    tmp_path: Path, server: Sshd, clean_home: Path
) -> None:
    figures = Figures()
    with Engine(tmp_path / "state", trace=figures) as engine:
        engine.add_environment(_spec(server))
        engine.run("db1", "true")
        [first] = figures.take()
        engine.run("db1", "head -c 5000 /dev/zero")
        [second] = figures.take()
    assert first.address == f"{server.user}@{server.address}:{server.port}"
    assert (first.connections, second.connections) == (1, 0)
    assert first.of("auth").seconds > 0
    assert (second.of("run").complete, second.received) == (1, 5000)


def test_a_trace_that_fails_breaks_no_work(tmp_path: Path, server: Sshd, clean_home: Path) -> None:
    def fails(_event: TraceEvent) -> None:
        raise RuntimeError("the hook is broken")

    with Engine(tmp_path / "state", trace=fails) as engine:
        engine.add_environment(_spec(server))
        assert engine.run("db1", "echo here").stdout == b"here\n"


LEAKY = CODE.replace(
    "def find_repositories(source_connection):",
    """def find_repositories(source_connection):
    import os
    token = open(os.path.join("@PLACE@", "token")).read()
    found = libs.run_bash(source_connection, 'echo "$TOKEN"; echo "$TOKEN" >&2', {"TOKEN": token})
    logging.info("after %s", found.stdout)
    print(found.stderr)
    raise RuntimeError("it said " + found.stdout)
""",
)


class TestSecrets:
    """Put everywhere a secret can be put; looked for in process lists, logs, errors, database, trace."""

    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[PasswordSshd]:
        """A real sshd that wants a key and a password."""
        (tmp_path / "guarded").mkdir()
        password = secret("password of an account")
        options = ("PasswordAuthentication yes", "AuthenticationMethods publickey,password")
        with PasswordSshd(tmp_path / "guarded", password, options) as running:
            (tmp_path / "password").touch(0o600)
            (tmp_path / "password").write_text(password)
            yield running

    def _encrypted(self, server: Sshd, passphrase: str) -> Path:
        from cryptography.hazmat.primitives import serialization

        path = server.make_key("encrypted")
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
        form = serialization.PrivateFormat.OpenSSH
        plain = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        remember(plain, "text of a private key")
        hidden = serialization.BestAvailableEncryption(passphrase.encode())
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
        remember(path.read_bytes(), "text of an encrypted private key")
        server.authorize(path)
        return path

    def test_are_nowhere(
        self,
        tmp_path: Path,
        guarded: PasswordSshd,
        clean_home: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        passphrase, token = secret("passphrase of a key"), secret("variable of a script")
        monkeypatch.setenv("KEY_PASSPHRASE", passphrase)
        key = self._encrypted(guarded, passphrase)
        login = Authentication(
            key=str(key),
            passphrase_from=SecretReference("env", "KEY_PASSPHRASE"),
            password_from=SecretReference("file", str(tmp_path / "password")),
        )
        place = tmp_path / "place"
        (place / "one").mkdir(parents=True)
        (place / "token").write_text(token)
        trace: list[TraceEvent] = []
        events: list[DiscoveryEvent] = []
        errors: list[RemoteError] = []
        variables = {"TOKEN": token}
        with caplog.at_level(logging.DEBUG), Engine(tmp_path / "state", trace=trace.append) as engine:
            engine.add_environment(_spec(guarded, authentication=login))
            engine.add_plugin(write_plugin(tmp_path / "plugin", place, code=LEAKY))
            seen = engine.run(
                "db1", 'cat /proc/[0-9]*/cmdline | tr "\\0" " "; : "$TOKEN"', variables=variables
            )
            look(seen.stdout, "the process list of the host while a script ran")
            assert engine.run("db1", 'echo "$TOKEN"', variables=variables).stdout_text.strip() == token
            with pytest.raises(CommandTimeout) as ended:
                engine.run("db1", 'echo "$TOKEN"; exec sleep 30', variables=variables, timeout=1)
            errors.append(ended.value)
            report = engine.discover(on_event=events.append)
            assert report.failed
            cutting = threading.Timer(1, guarded.stop)
            cutting.start()
            with pytest.raises(OutcomeUnknown) as lost:
                engine.run("db1", 'echo "$TOKEN"; exec sleep 30', variables=variables)
            cutting.join()
            errors.append(lost.value)
        SCAN.look_at_processes()
        for error in errors:
            look(f"{error!r} {error} {error.output}", "an error")
        for event in trace:
            look(str(asdict(event)), f"the trace ({event.stage})")
        for told in events:
            look(str(told), "a progress event")
        look(str(report), "the report of a discovery")
        assert "********" in str(report)
        for record in caplog.records:
            look(record.getMessage(), f"a log record of {record.name}")
        log = (tmp_path / "state" / "log" / "engine.log").read_text()
        look(log, "the engine's log file")
        SCAN.look_at_files(tmp_path / "state")
        look(repr(_spec(guarded, authentication=login)), "the representation of an environment")
        assert {event.stage for event in trace} >= {"auth", "run", "close"}
        assert not SCAN.findings

    def test_wrong_ones_are_not_shown_either(
        self, tmp_path: Path, guarded: PasswordSshd, clean_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WRONG", secret("wrong secret"))
        wrong = SecretReference("env", "WRONG")
        key = self._encrypted(guarded, secret("passphrase of a key"))
        logins = {
            "passphrase": (Authentication(key=str(key), passphrase_from=wrong), CredentialUnusable),
            "password": (
                Authentication(key=str(guarded.user_key), password_from=wrong),
                AuthenticationFailed,
            ),
        }
        for name, (login, kind) in logins.items():
            with Engine(tmp_path / f"state-{name}") as engine:
                engine.add_environment(_spec(guarded, authentication=login))
                with pytest.raises(kind) as caught:
                    engine.run("db1", "true")
            look(f"{caught.value!r} {caught.value}", "an error")
            assert os.environ["WRONG"] not in str(caught.value)
        assert not SCAN.findings
