"""The engine end to end against a real sshd on loopback, with a plugin that really looks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.engine import (
    AlreadyExists,
    Authentication,
    DiscoveryEvent,
    DiscoveryReport,
    Engine,
    EnvironmentSpec,
    InvalidRequest,
    NotFound,
    RemoteError,
    SecretReference,
    discover_once,
)
from dlpx_remote.engine_jobs import JobState
from tests.hosts.engine_plugin import CODE, write_plugin
from tests.hosts.sshd import Sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What there is to find: two repositories with three source configs."""
    data = tmp_path / "data"
    for directory, file in (("one", "x"), ("one", "y"), ("two", "z")):
        (data / directory).mkdir(parents=True, exist_ok=True)
        (data / directory / file).write_text("found")
    return data


@pytest.fixture
def plugin(tmp_path: Path, data: Path) -> Path:
    return write_plugin(tmp_path / "plugin", data)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "state") as engine:
        yield engine


@pytest.fixture
def spec(sshd: Sshd, tmp_path: Path) -> EnvironmentSpec:
    return EnvironmentSpec(
        "db1",
        "127.0.0.1",
        port=sshd.port,
        authentication=Authentication(key=str(sshd.user_key)),
        fingerprint=sshd.fingerprint(),
        directory=str(tmp_path / "opt" / "dlpx"),
    )


def changes(report: DiscoveryReport) -> dict[str, str]:
    found = {}
    for result in report.results:
        assert result.failure is None, result.failure
        for repository in result.repositories:
            name = Path(repository.name).name
            found[name] = str(repository.change)
            for config in repository.source_configs:
                found[f"{name}/{config.name}"] = str(config.change)
    return found


def test_what_is_on_a_host_is_found_and_followed(
    engine: Engine, spec: EnvironmentSpec, plugin: Path, data: Path
) -> None:
    engine.add_environment(spec)
    engine.add_plugin(plugin)
    events: list[DiscoveryEvent] = []
    first = engine.discover(on_event=events.append)
    assert changes(first) == {"one": "new", "one/x": "new", "one/y": "new", "two": "new", "two/z": "new"}
    assert [event.stage for event in events] == ["connecting", "discovering", "finished"]
    assert set(changes(engine.discover(["db1"], ["finder"])).values()) == {"unchanged"}

    (data / "one" / "x").unlink()
    (data / "one" / "y").write_bytes(b"x" * 100_000)
    (data / "three").mkdir()
    assert changes(engine.discover()) == {
        "one": "unchanged",
        "one/y": "changed",
        "one/x": "gone",
        "three": "new",
        "two": "unchanged",
        "two/z": "unchanged",
    }
    (data / "one" / "x").write_text("back")
    assert changes(engine.discover())["one/x"] == "returned"
    (known,) = engine.discovered("db1")
    assert {Path(repository.name).name for repository in known.repositories} == {"one", "two", "three"}


def test_a_refresh_keeps_facts_and_discovers(engine: Engine, spec: EnvironmentSpec, plugin: Path) -> None:
    engine.add_environment(spec)
    assert engine.environment("db1").facts is None
    environment, report = engine.refresh_environment("db1")
    assert report.results == ()
    facts = environment.facts
    assert facts is not None
    assert facts.uid == os.getuid()
    assert facts.kernel.startswith("Linux ")
    assert facts.tools["bash"].startswith("/")
    engine.add_plugin(plugin)
    environment, report = engine.refresh_environment("db1")
    assert changes(report)["one"] == "new"


def test_each_step_of_a_test_is_reported_and_the_directories_are_made(
    engine: Engine, spec: EnvironmentSpec, tmp_path: Path
) -> None:
    engine.add_environment(spec)
    steps = {step.name: step for step in engine.test_environment("db1")}
    for name in ("name resolves", "port answers", "host key", "login", "shell", "home"):
        assert steps[name].outcome == "ok", steps[name]
    assert steps["toolkit directory"].outcome == steps["scratch directory"].outcome == "ok"
    assert (tmp_path / "opt" / "dlpx" / "scratch").is_dir()
    assert engine.environment("db1").facts is not None


def test_removing_an_environment_takes_away_what_was_made_on_the_host(
    engine: Engine, spec: EnvironmentSpec, plugin: Path, tmp_path: Path
) -> None:
    engine.add_environment(spec)
    engine.add_plugin(plugin)
    engine.discover()
    assert (tmp_path / "opt" / "dlpx" / "toolkit").is_dir()
    removed = engine.remove_environment("db1")
    assert removed.cleaned
    assert removed.directory == str(tmp_path / "opt" / "dlpx")
    assert not (tmp_path / "opt").exists()
    with pytest.raises(NotFound):
        engine.discovered("db1")


def test_removing_an_environment_whose_host_is_gone_says_what_is_left(
    engine: Engine, spec: EnvironmentSpec, tmp_path: Path
) -> None:
    server_directory = tmp_path / "sshd"
    server_directory.mkdir()
    with Sshd(server_directory) as server:
        lost = EnvironmentSpec(
            "lost",
            "127.0.0.1",
            port=server.port,
            authentication=Authentication(key=str(server.user_key)),
            fingerprint=server.fingerprint(),
            directory=spec.directory,
        )
        engine.add_environment(lost)
        engine.test_environment("lost")
    removed = engine.remove_environment("lost")
    assert not removed.cleaned
    assert removed.directory == spec.directory
    assert removed.detail
    assert engine.environments() == []


def test_scripts_run_by_hand_get_variables_and_keep_their_exit_code(
    engine: Engine, spec: EnvironmentSpec
) -> None:
    engine.add_environment(spec)
    result = engine.run("db1", 'printf %s "$GREETING"; exit 3', variables={"GREETING": "good day"})
    assert (result.exit_code, result.stdout) == (3, b"good day")
    with pytest.raises(NotFound, match="user of the environment db1"):
        engine.run("db1", "true", user="nobody-of-that-name")


def test_one_host_that_fails_stops_no_other(engine: Engine, spec: EnvironmentSpec, plugin: Path) -> None:
    engine.add_environment(spec)
    engine.add_environment(
        EnvironmentSpec(
            "down", "127.0.0.1", port=1, authentication=spec.authentication, host_key="accept-new"
        )
    )
    engine.add_plugin(plugin)
    report = engine.discover(["down", "db1"])
    assert report.failed
    down, db1 = report.results
    assert (down.environment, db1.environment) == ("down", "db1")
    assert down.failure is not None
    assert down.failure.kind == "ConnectionRefused"
    assert down.failure.action
    assert len(db1.repositories) == 2


def test_a_failed_discovery_leaves_what_was_known(
    engine: Engine, spec: EnvironmentSpec, plugin: Path, data: Path, tmp_path: Path
) -> None:
    engine.add_environment(spec)
    engine.add_plugin(plugin)
    engine.discover()
    broken = CODE.replace('"ls -s %s" % repository.path', '"ls -s %s/none" % repository.path')
    engine.add_plugin(write_plugin(tmp_path / "broken", data, build="1.0.1", code=broken))
    (failed,) = engine.discover().results
    assert failed.failure is not None
    assert failed.failure.kind == "PluginFailed"
    assert "discovery.source_config" in failed.failure.message
    assert "PluginScriptError" in failed.failure.message + failed.failure.output
    (known,) = engine.discovered("db1")
    assert {repository.change for repository in known.repositories} == {"unchanged"}
    assert sum(len(repository.source_configs) for repository in known.repositories) == 3


def test_source_configs_added_by_hand_stay(
    engine: Engine, spec: EnvironmentSpec, plugin: Path, data: Path
) -> None:
    engine.add_environment(spec)
    engine.add_plugin(plugin)
    engine.discover()
    repository = str(data / "one")
    added = engine.add_source_config("db1", "finder", repository, {"name": "mine", "blocks": 1})
    assert (added.name, added.change) == ("mine", "manual")
    with pytest.raises(AlreadyExists):
        engine.add_source_config("db1", "finder", repository, {"name": "x", "blocks": 1})
    assert changes(engine.discover())["one/mine"] == "manual"


def test_a_quick_look_finds_the_same_and_leaves_nothing(
    sshd: Sshd, spec: EnvironmentSpec, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    report = discover_once([plugin], [spec])
    assert changes(report) == {"one": "new", "one/x": "new", "one/y": "new", "two": "new", "two/z": "new"}
    assert not Path(str(spec.directory)).exists()
    assert list(sshd.temporary.glob("dlpx-remote.*")) == []
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "default-state").exists()


def test_a_quick_look_says_how_to_accept_a_host_key(spec: EnvironmentSpec, plugin: Path, sshd: Sshd) -> None:
    strict = EnvironmentSpec("strict", spec.host, port=spec.port, authentication=spec.authentication)
    [result] = discover_once([plugin], [strict]).results
    assert result.failure is not None
    assert result.failure.kind == "HostKeyUnknown"
    assert f"--fingerprint {sshd.fingerprint()}, or with --host-key accept-new" in result.failure.action
    assert str(Path("~/.ssh/known_hosts")) in result.failure.action


def test_an_unknown_host_key_is_refused_unless_new_ones_are_accepted(
    engine: Engine, spec: EnvironmentSpec, sshd: Sshd, tmp_path: Path
) -> None:
    strict = EnvironmentSpec("strict", spec.host, port=spec.port, authentication=spec.authentication)
    engine.add_environment(strict)
    steps = {step.name: step for step in engine.test_environment("strict")}
    assert steps["host key"].outcome == "failed"
    assert sshd.fingerprint() in steps["host key"].detail + steps["host key"].action
    new = EnvironmentSpec(
        "new", spec.host, port=spec.port, authentication=spec.authentication, host_key="accept-new"
    )
    engine.add_environment(new)
    assert engine.run("new", "true").exit_code == 0
    # Asked of OpenSSH: whether names are hashed there is for this machine's ssh_config to say.
    known = str(tmp_path / "state" / "known_hosts")
    look_up = ["ssh-keygen", "-F", f"[{sshd.address}]:{sshd.port}", "-f", known]
    assert sshd.public_key() in subprocess.run(look_up, capture_output=True, text=True, check=True).stdout


def test_a_missing_secret_is_told_at_the_login(engine: Engine, spec: EnvironmentSpec, sshd: Sshd) -> None:
    locked = sshd.make_key(f"locked-{os.urandom(4).hex()}", passphrase="phrase-of-the-locked-key")
    sshd.authorize(locked)
    authentication = Authentication(key=str(locked), passphrase_from=SecretReference("env", "NO_SUCH_PHRASE"))
    engine.add_environment(
        EnvironmentSpec(
            "db2",
            spec.host,
            port=spec.port,
            authentication=authentication,
            fingerprint=spec.fingerprint,
        )
    )
    steps = {step.name: step for step in engine.test_environment("db2")}
    assert steps["login"].outcome == "failed"
    assert "NO_SUCH_PHRASE" in steps["login"].detail
    assert steps["shell"].outcome == "skipped"


def test_a_secret_from_every_kind_of_place_opens_the_door_and_stays_out_of_the_state(
    engine: Engine, spec: EnvironmentSpec, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phrase = "phrase-that-no-file-may-hold"
    locked = sshd.make_key(f"locked-{os.urandom(4).hex()}", passphrase=phrase)
    sshd.authorize(locked)
    monkeypatch.setenv("KEY_PHRASE", phrase)
    secret_file = tmp_path / "phrase"
    secret_file.touch(mode=0o600)
    secret_file.write_text(f"{phrase}\n")
    references = {
        "from-env": SecretReference("env", "KEY_PHRASE"),
        "from-file": SecretReference("file", str(secret_file)),
        "from-command": SecretReference("command", f"cat {secret_file}"),
    }
    for name, reference in references.items():
        engine.add_environment(
            EnvironmentSpec(
                name,
                spec.host,
                port=spec.port,
                authentication=Authentication(key=str(locked), passphrase_from=reference),
                fingerprint=spec.fingerprint,
            )
        )
        assert engine.run(name, "echo in").stdout == b"in\n"
    secret_file.unlink()
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            assert phrase.encode() not in path.read_bytes(), path


def test_discoveries_of_several_processes_at_once_lose_nothing(
    engine: Engine, spec: EnvironmentSpec, plugin: Path, tmp_path: Path
) -> None:
    engine.add_environment(spec)
    engine.add_plugin(plugin)
    program = (
        "import sys; from pathlib import Path; from dlpx_remote.engine import Engine\n"
        "with Engine(Path(sys.argv[1])) as engine:\n"
        "    report = engine.discover()\n"
        "    print([result.failure for result in report.results])\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "state")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, "[None]\n"), errors
    (known,) = engine.discovered("db1")
    references = [repository.reference for repository in known.repositories]
    references += [config.reference for one in known.repositories for config in one.source_configs]
    assert sorted(references) == [
        "REPOSITORY-1",
        "REPOSITORY-2",
        "SOURCE_CONFIG-1",
        "SOURCE_CONFIG-2",
        "SOURCE_CONFIG-3",
    ]


def test_an_interrupt_ends_plugins_and_connections(spec: EnvironmentSpec, data: Path, tmp_path: Path) -> None:
    """The person presses Ctrl-C while a plugin hangs and another waits for its host."""
    hanging = CODE.replace("    scratch = source", "    import time; time.sleep(600)\n    scratch = source")
    waiting = CODE.replace("'test -w", "'sleep 86413; test -w")
    with Engine(tmp_path / "state") as engine:
        engine.add_environment(spec)
        engine.add_plugin(write_plugin(tmp_path / "hanging", data, name="hanging", code=hanging))
        other = "b6f5a1f0-5b6f-4a54-9d64-7a4f3f5c7a11"
        engine.add_plugin(
            write_plugin(tmp_path / "waiting", data, name="waiting", code=waiting, identifier=other)
        )
    program = (
        "import sys; from pathlib import Path; from dlpx_remote.engine import Engine\n"
        "with Engine(Path(sys.argv[1])) as engine:\n"
        "    engine.discover(on_event=lambda event: print(event.plugin, event.stage, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen: set[str] = set()
    while len(seen) < 2:
        line = process.stdout.readline()
        assert line, process.communicate()
        if "discovering" in line:
            seen.add(line.split()[0])
    until = time.monotonic() + 60
    while not _running(b"86413") and time.monotonic() < until:
        time.sleep(0.05)
    threading.Event().wait(0.3)  # let the other come to the place where it hangs
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert "Exception in thread" not in errors
    until = time.monotonic() + 30
    while _running(b"86413") and time.monotonic() < until:
        time.sleep(0.05)
    assert not _running(b"86413")  # nothing is left on the host
    with Engine(tmp_path / "state") as engine:
        job = engine.jobs.get("JOB-1")
        assert job.state is JobState.CANCELLED
        assert [step.error for step in job.steps] == ["It was interrupted."]


def _running(argument: bytes) -> list[bytes]:
    """Command lines of processes that have ``argument``, as its own word."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().split(b"\0")
            found += [b" ".join(words)] if argument in words else []
    return found


def test_plugins_reach_their_scratch_directory_and_see_no_secret(
    engine: Engine, spec: EnvironmentSpec, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_SECRET", "sesame-of-the-engine")
    nosy = CODE.replace(
        "    scratch = source",
        "    import os; assert 'ENGINE_SECRET' not in os.environ\n    scratch = source",
    )
    engine.add_environment(spec)
    engine.add_plugin(write_plugin(tmp_path / "nosy", data, code=nosy))
    assert changes(engine.discover())["one"] == "new"


def test_unknown_plugins_and_environments_stop_a_discovery_before_it_begins(
    engine: Engine, spec: EnvironmentSpec, plugin: Path
) -> None:
    with pytest.raises(InvalidRequest):
        engine.discover()
    engine.add_environment(spec)
    engine.add_plugin(plugin)
    with pytest.raises(RemoteError, match="no plugin named 'fnder'"):
        engine.discover(["db1"], ["fnder"])
