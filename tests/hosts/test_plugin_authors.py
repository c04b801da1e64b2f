"""What a plugin's author does: a new plugin, run on a throw-away host, tested with the fixtures, recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.authoring import NewPlugin, TriedOperation, try_plugin_operation, write_new_plugin
from dlpx_remote.cli import main
from dlpx_remote.demo.single import throw_away_host
from dlpx_remote.errors import InvalidRequest
from tests.hosts.sshd import sshd_binary

SECRET = "four-Leaf-clover"
SECRETIVE = f"""
@plugin.virtual.start()
def start(virtual_source, repository, source_config):
    script = 'echo "with $WORD" >&2; exit 3'
    libs.run_bash(virtual_source.connection, script, variables={{"WORD": "{SECRET}"}})
    print("started")
    raise UserError("It does not start.", "Try again.", "no fuel")
"""


@pytest.fixture(scope="module", autouse=True)
def _sshd() -> None:
    sshd_binary()  # fails with what to install


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    write_new_plugin(NewPlugin("Kettle"), tmp_path / "kettle")
    with (tmp_path / "kettle" / "src" / "kettle" / "plugin.py").open("a") as code:
        code.write(SECRETIVE)
    return tmp_path / "kettle"


def attempt(plugin: Path, operation: str, **arguments: object) -> TriedOperation:
    with throw_away_host() as host:
        return try_plugin_operation(plugin, operation, host, arguments)


def test_an_operation_shows_what_went_in_what_ran_and_what_came_out(plugin: Path) -> None:
    tried = attempt(plugin, "discovery.source_config")

    assert tried.failure is None
    assert tried.result == []
    assert tried.arguments["repository"] == {"name": "Kettle"}, "discovered, as it was not given"
    (call,) = tried.calls
    assert (call.function, call.exit_code, call.variables) == ("run_bash", 0, ("MARKER",))
    assert call.script.startswith("find ")
    assert 0 < call.seconds <= tried.seconds + 1


def test_a_failure_keeps_its_calls_its_log_and_its_secrets(plugin: Path) -> None:
    tried = attempt(
        plugin,
        "virtual.start",
        virtual_source={"parameters": {"mountPath": "/a"}},
        source_config={"path": "/a"},
    )

    assert tried.failure is not None
    assert (tried.failure.message, tried.failure.action) == ("It does not start.", "Try again.")
    assert tried.log == ("started",)
    (call,) = tried.calls
    assert (call.exit_code, call.stderr) == (3, "with ********\n")
    assert SECRET not in repr(tried)


def test_what_the_schema_marks_as_secret_is_not_shown_among_the_arguments(plugin: Path) -> None:
    schema = json.loads((plugin / "schema.json").read_text())
    secret = {"type": "string", "format": "password"}
    schema["virtualSourceDefinition"]["properties"]["password"] = secret
    (plugin / "schema.json").write_text(json.dumps(schema))
    source = {"parameters": {"mountPath": "/a", "password": SECRET}}

    tried = attempt(plugin, "virtual.mount_specification", virtual_source=source)

    assert tried.failure is None
    assert tried.arguments["virtual_source"]["parameters"]["mountPath"] == "/a"
    assert SECRET not in repr(tried)


def test_an_operation_that_the_plugin_leaves_out_is_said_to_be(plugin: Path) -> None:
    tried = attempt(
        plugin,
        "virtual.stop",
        virtual_source={"parameters": {"mountPath": "/a"}},
        source_config={"path": "/a"},
    )

    assert not tried.implemented
    assert tried.failure is None


def test_several_things_to_choose_from_are_the_authors_choice(plugin: Path) -> None:
    code = plugin / "src" / "kettle" / "plugin.py"
    one = 'RepositoryDefinition(name="Kettle")'
    code.write_text(code.read_text().replace(f"[{one}]", f'[{one}, RepositoryDefinition(name="Pot")]'))

    with pytest.raises(InvalidRequest, match=r"discovers 2 \(Kettle, Pot\)") as caught:
        attempt(plugin, "discovery.source_config")

    assert "under repository" in caught.value.action


@pytest.mark.parametrize(
    ("operation", "arguments", "expected"),
    [
        ("virtual.strat", {}, "Did you mean `virtual.start`?"),
        ("virtual.start", {"virtual_sauce": {}}, "Did you mean `virtual_source`?"),
        ("virtual.start", {"virtual_source": []}, "must be an object with `parameters`"),
    ],
)
def test_wrong_words_are_refused_with_the_right_ones(
    plugin: Path, operation: str, arguments: dict[str, object], expected: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        attempt(plugin, operation, **arguments)

    assert expected in str(caught.value)


def test_the_command_takes_arguments_from_a_file_and_prints_them(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = tmp_path / "arguments.yml"
    arguments.write_text("virtual_source: {parameters: {mountPath: /srv/tea}}\n")
    line = ["plugin", "run", str(plugin), "virtual.mount_specification", "--arguments", str(arguments)]

    assert main(line) == 0
    shown = capsys.readouterr().out
    assert '"mountPath": "/srv/tea"' in shown
    assert '"mount_path": "/srv/tea"' in shown
    assert "returned after " in shown

    assert main([*line, "--output", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["result"]["mounts"][0]["mount_path"] == "/srv/tea"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read"), ("a: [", "neither YAML nor JSON"), ("[1]", "must be an object")],
)
def test_a_file_with_arguments_that_is_no_good_is_refused(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, expected: str
) -> None:
    file = tmp_path / "arguments.yml"
    if content is not None:
        file.write_text(content)

    assert main(["plugin", "run", str(plugin), "discovery.repository", "--arguments", str(file)]) != 0
    assert expected in capsys.readouterr().err


class Watching:
    """``plugin run --watch`` as a process of its own, and what it writes."""

    WAITS = "Waiting for a change; Ctrl-C ends it."

    def __init__(self, *words: str) -> None:
        program = "import sys; from dlpx_remote.cli import main; sys.exit(main(sys.argv[1:]))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "plugin", "run", *words, "--watch"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def said(self) -> str:
        """What it wrote until it waits."""
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            if line.startswith(self.WAITS):
                return "".join(lines)
            lines.append(line)
        pytest.fail(f"it has ended: {''.join(lines)}")

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def watching(plugin: Path, tmp_path: Path) -> Iterator[Watching]:
    arguments = tmp_path / "arguments.yml"
    arguments.write_text("repository: {name: Kettle}\n")
    started = Watching(str(plugin), "discovery.source_config", "--arguments", str(arguments))
    yield started
    started.process.kill()
    started.process.communicate()


def test_watching_runs_it_again_whenever_a_file_changes_until_ctrl_c(
    plugin: Path, tmp_path: Path, watching: Watching
) -> None:
    code, arguments = plugin / "src" / "kettle" / "plugin.py", tmp_path / "arguments.yml"
    good = code.read_text()

    def save(file: Path, text: str) -> None:
        """In one go: a file that is emptied and then written may be seen, and run, twice."""
        written = tmp_path / "being-written"
        written.write_text(text)
        written.replace(file)

    assert "returned after" in watching.said()

    save(code, good.replace("found.stdout.splitlines()", '["/srv/changed"]'))
    assert '"path": "/srv/changed"' in watching.said()

    save(code, good.replace("def find_directories", "def find directories"))
    assert "plugin.py" in watching.said(), "a mistake is told, and it goes on"

    save(code, good)
    assert "returned after" in watching.said()

    save(arguments, "repository: {name: Pot}\n")
    assert '"name": "Pot"' in watching.said()

    save(code.with_name("more.py"), "MORE = 1\n")
    assert "returned after" in watching.said(), "a new file is a change, too"

    assert watching.interrupt() == 130


def run_pytest(plugin: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        command, cwd=plugin, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_new_plugins_own_tests_pass_are_recorded_and_are_played_without_a_host(plugin: Path) -> None:
    recorded = run_pytest(plugin, "--dlpx-recording", "record")
    assert recorded.returncode == 0, recorded.stdout
    files = sorted((plugin / "tests" / "recordings").iterdir())

    nowhere = ["--dlpx-host", "nobody@127.0.0.1:1"]
    played = run_pytest(plugin, *nowhere)
    assert played.returncode == 0, played.stdout

    code = plugin / "src" / "kettle" / "plugin.py"
    code.write_text(code.read_text().replace("-maxdepth 3", "-maxdepth 4"))
    changed = run_pytest(plugin, *nowhere)
    assert changed.returncode == 1
    assert "is not the one that was recorded" in changed.stdout
    assert '-find "$HOME" -maxdepth 3' in changed.stdout
    assert '+find "$HOME" -maxdepth 4' in changed.stdout

    files[0].write_text("{")
    (plugin / "tests" / "recordings" / files[-1].name).unlink()
    spoilt = run_pytest(plugin, "--dlpx-recording", "play")
    assert spoilt.returncode == 1
    assert "cannot be read" in spoilt.stdout
    assert "There is no recording" in spoilt.stdout


def test_recordings_hold_no_secret(plugin: Path) -> None:
    (plugin / "tests" / "test_plugin.py").write_text(
        "def test_it(dlpx_operations):\n"
        "    copy = {'parameters': {'mountPath': '/a'}}\n"
        "    config = {'path': '/a'}\n"
        "    tried = dlpx_operations.attempt('virtual.start', virtual_source=copy, source_config=config)\n"
        "    assert tried.failure.message == 'It does not start.'\n"
    )

    assert run_pytest(plugin, "--dlpx-recording", "record").returncode == 0
    (file,) = (plugin / "tests" / "recordings").iterdir()
    assert SECRET not in file.read_text()
    assert "with ********" in file.read_text()
    assert run_pytest(plugin, "--dlpx-recording", "play").returncode == 0
