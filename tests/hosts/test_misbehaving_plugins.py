"""Plugins that misbehave while they discover a real host: a clear failure, and the others are untouched."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from dlpx_remote.engine import DiscoveryReport, Engine, Failure
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.plugins.worker import Limits
from dlpx_remote.workflows import discovering
from tests.hosts.engine_plugin import write_plugin
from tests.hosts.examples import CLUSTERS, POSTGRES, clusters
from tests.hosts.ssh_host import SshHost
from tests.secret_scan import secret

CODE = """
import os, sys, threading, time
from dlpx.virtualization import libs
from dlpx.virtualization.platform import Plugin, UserError
from generated.definitions import RepositoryDefinition, SourceConfigDefinition

plugin = Plugin()


@plugin.discovery.repository()
def find_repositories(source_connection):
    {body}


@plugin.discovery.source_config()
def find_source_configs(source_connection, repository):
    return []
"""

Discover = Callable[[str], DiscoveryReport]


@pytest.fixture
def discover(engine: Engine, ssh_host: SshHost, tmp_path: Path) -> Discover:
    """Discover with a plugin whose repository discovery has the given body, and a good plugin beside it."""

    def discover(body: str) -> DiscoveryReport:
        engine.add_plugin(write_plugin(tmp_path / "plugin", Path("/"), code=CODE.format(body=body)))
        engine.add_plugin(POSTGRES)
        engine.add_environment(ssh_host.spec("db"))
        report = engine.discover()
        assert clusters(report, "db") == CLUSTERS, "the plugin beside it was disturbed"
        return report

    return discover


def _failure(report: DiscoveryReport) -> Failure:
    assert report.failed
    failure = next(result.failure for result in report.results if result.plugin == "finder")
    assert failure is not None
    return failure


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("raise KeyError('no such thing')", "PluginFailed", ["discovery.repository", "no such thing"]),
        ("return RepositoryDefinition(path='/')", "WrongResult", ["list", "RepositoryDefinition"]),
        ("return ['/']", "WrongResult", ["str", "RepositoryDefinition"]),
        ("return [RepositoryDefinition(path=7, validate=False)]", "WrongResult", ["path"]),
        ("os._exit(7)", "WorkerDied", ["7"]),
        ("return [RepositoryDefinition(path='x' * 5 * 1024 ** 2)]", "TooLarge", ["4"]),
        ("return [RepositoryDefinition(path='/a')] * 2", "", ["/a"]),
    ],
    ids=["raises", "wrong-type", "wrong-items", "breaks-schema", "exits", "5-mib", "one-identity-twice"],
)
def test_a_plugin_that_misbehaves_is_named_with_what_it_did(
    discover: Discover, body: str, kind: str, words: list[str]
) -> None:
    failure = _failure(discover(body))
    assert not kind or failure.kind == kind
    text = "\n".join([failure.message, failure.action, failure.output])
    assert "finder" in text
    for word in words:
        assert word in text


def test_its_stack_trace_is_shown(discover: Discover) -> None:
    failure = _failure(discover("raise KeyError('no such thing')"))
    assert "finder.py" in failure.output
    assert "Traceback" in failure.output


def test_a_user_error_is_shown_in_its_three_parts(discover: Discover) -> None:
    failure = _failure(discover("raise UserError('The disk is full.', 'Make room.', 'df: 100 %')"))
    assert (failure.message, failure.action, failure.output) == (
        "The disk is full.",
        "Make room.",
        "df: 100 %",
    )


def test_one_that_hangs_is_ended(discover: Discover, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, Limits(timeout=5.0))
    failure = _failure(discover("time.sleep(3600)"))
    assert failure.kind == "OperationTimeout"
    assert "5" in failure.message


def test_one_that_hangs_on_the_host_leaves_no_process_there(
    discover: Discover, ssh_host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit(monkeypatch, Limits(timeout=5.0))
    failure = _failure(discover("libs.run_bash(source_connection, 'sleep 3600')"))
    assert failure.kind == "OperationTimeout"
    assert "sleep 3600" not in ssh_host.root("ps -eo args")


def test_one_that_eats_memory_fails_alone(discover: Discover) -> None:
    failure = _failure(discover("return [b'x' * 1024 ** 3 for _ in range(64)]"))
    assert failure.kind in {"PluginFailed", "WorkerDied"}
    assert "emory" in failure.message + failure.output


def test_one_that_prints_and_leaks_threads_does_no_harm(discover: Discover) -> None:
    report = discover(
        "print('to stdout'); sys.stdout.write('{\"not\": \"ours\"}'); "
        "threading.Thread(target=time.sleep, args=(3600,)).start(); return []"
    )
    assert not report.failed


def test_a_script_that_fails_is_shown_without_its_variables(discover: Discover) -> None:
    value = secret("variable of a plugin's script")
    body = (
        "libs.run_bash(source_connection, 'echo \"did not work: $TOKEN\" >&2; exit 4', "
        f"variables={{'TOKEN': {value!r}}}, check=True)"
    )
    failure = _failure(discover(body))
    text = "\n".join([failure.message, failure.action, failure.output])
    assert "did not work" in text
    assert value not in text


def _limit(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    monkeypatch.setattr(discovering, "Dispatcher", functools.partial(Dispatcher, limits=limits))
