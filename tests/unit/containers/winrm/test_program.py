"""The host as a program of its own: scenario files, the control port, and what is said to mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containers.winrm.responder import ControlError, Quotas, RemoteHost, Reply, Rule, Settings, Trouble
from containers.winrm.responder.scenario import BadScenario, load
from tests.secret_scan import secret
from tests.unit.containers.winrm.conftest import USER, Client

FOLDER = Path(__file__).parents[4] / "containers" / "winrm"


class Program:
    """A running program and what it said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.said = process.stdout.readline().strip()
        assert process.stdout.readline() == "host is ready\n"
        ports = [int(word.strip(",")) for word in self.said.split() if word.strip(",").isdigit()]
        self.http, self.https, self.control = ports
        self.host = RemoteHost(f"http://127.0.0.1:{self.control}")
        self.url = f"http://127.0.0.1:{self.http}/wsman"


@contextmanager
def program(*options: str) -> Iterator[Program]:
    """The program on free ports."""
    command = [sys.executable, "-m", "responder", "--http=0", "--https=0", "--control=0", *options]
    with subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Program(process)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


@pytest.fixture(scope="module")
def running() -> Iterator[Program]:
    with program() as running:
        yield running


def connect(running: Program, password: str, scheme: str = "basic") -> Client:
    return Client(None, password, scheme, url=running.url)


def test_users_and_rules_come_through_the_control_port(running: Program, password: str) -> None:
    running.host.add_user(USER, password)
    running.host.when("^x$", Reply(stdout=b"\x00\xff", stderr="no", exit_code=2))
    client = connect(running, password, "ntlm")
    assert client.run("x") == (b"\x00\xff", b"no", 2)
    client.close()
    counts = running.host.counts
    assert (counts.shells_open, counts.commands_open) == (0, 0)
    assert {exchange.user for exchange in running.host.exchanges if exchange.action} == {USER}


def test_troubles_come_through_the_control_port_and_can_be_cleared(running: Program, password: str) -> None:
    running.host.add_user(USER, password)
    client = connect(running, password)
    running.host.trouble("fault", "Command", fault="busy", times=0)
    with pytest.raises(Exception, match="in use"):
        client.start("hostname")
    running.host.clear_troubles()
    assert client.run("hostname")[2] == 0


def test_shells_and_connections_can_be_lost(running: Program, password: str) -> None:
    running.host.add_user(USER, password)
    connect(running, password)
    assert running.host.counts.shells_open >= 1
    running.host.forget_shells()
    running.host.cut_connections()
    assert running.host.counts.shells_open == 0


def test_the_certificate_is_told(running: Program) -> None:
    assert running.host.authority.startswith(b"-----BEGIN CERTIFICATE-----")
    assert len(running.host.thumbprint) == 40


def test_what_the_control_port_does_not_know_is_said(running: Program) -> None:
    with pytest.raises(ControlError, match="There is no GET /nothing"):
        running.host._ask("GET", "/nothing")
    with pytest.raises(ControlError, match="A user has a 'name' and a 'password'"):
        running.host._ask("POST", "/users", {"name": USER})
    with pytest.raises(ControlError, match="A rule needs 'when'"):
        running.host._ask("POST", "/rules", {"stdout": "x"})
    with pytest.raises(ControlError, match="no colon or line feed"):
        running.host.add_user("a:b", "x")


def test_a_scenario_file_sets_all_up(tmp_path: Path) -> None:
    password = secret("password in a scenario file")
    decoder = tmp_path / "decoder.py"
    decoder.write_text(
        "from responder import Payload\n\ndef backwards(bootstrap, stdin):\n"
        "    return Payload(stdin.decode()[::-1])\n"
    )
    scenario = {
        "users": {USER: password},
        "rules": [{"when": "^olleh$", "stdout_base64": "/w==", "exit_code": 3}],
        "troubles": [{"kind": "fault", "action": "Command", "fault": "busy"}],
        "quotas": {"shells": 1},
        "settings": {"schemes": ["Basic"], "records": 5},
    }
    file = tmp_path / "scenario.json"
    file.write_text(json.dumps(scenario))
    with program(f"--scenario={file}", f"--decoder={decoder}:backwards") as running:
        client = connect(running, password)
        with pytest.raises(Exception, match="in use"):
            client.start("powershell", "-")
        assert client.run("powershell", "-", stdin=b"hello") == (b"\xff", b"", 3)
        with pytest.raises(Exception, match="concurrent shells"):
            connect(running, password)
        assert len(running.host.exchanges) == 5


def test_a_scenario_is_read(tmp_path: Path) -> None:
    file = tmp_path / "scenario.json"
    file.write_text(
        json.dumps(
            {
                "rules": [{"when": "a", "times": 2, "delay": 1, "reads_stdin": False}],
                "troubles": [{"kind": "slow", "seconds": 2}],
                "quotas": {"timeout": 1.5},
                "settings": {"unencrypted": False},
            }
        )
    )
    scenario = load(file)
    assert scenario.rules == (Rule("a", Reply(delay=1), 2, False),)
    assert scenario.troubles == (Trouble("slow", seconds=2),)
    assert (scenario.quotas, scenario.settings) == (Quotas(timeout=1.5), Settings(unencrypted=False))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "the scenario must be an object"),
        ('{"user": {}}', "the scenario has no 'user'. It has: quotas, rules, settings, troubles, users"),
        ('{"users": {"a": 1}}', "the password of a must be text"),
        ('{"rules": {}}', "rules must be a list"),
        ('{"rules": [{"when": "a", "exitcode": 1}]}', "a rule has no 'exitcode'"),
        ('{"rules": [{"when": "a", "exit_code": "1"}]}', "'exit_code' of a rule must be of the type int"),
        ('{"rules": [{"when": "a", "stdout_base64": "?"}]}', "stdout_base64 of a rule is not base64"),
        ('{"rules": [{"when": "a", "times": "2"}]}', "'times' of a rule is a number"),
        ('{"troubles": [{"kind": "flood"}]}', "There is no trouble of the kind 'flood'"),
        ('{"troubles": [{}]}', "missing 1 required positional argument: 'kind'"),
        ('{"quotas": {"shells": true}}', "'shells' of quotas must be of the type int"),
    ],
)
def test_mistakes_in_a_scenario_are_named(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "scenario.json"
    file.write_text(content)
    with pytest.raises(BadScenario) as raised:
        load(file)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--scenario=nowhere.json", "cannot be read"),
        ("--decoder=decoder", "given as FILE.py:FUNCTION"),
        ("--decoder=nowhere.py:decode", "There is no decoder"),
    ],
)
def test_mistakes_on_the_command_line_are_named(option: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "responder", option], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
