"""Wrong uses that a person can make: each is refused in a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dlpx_remote.engine import Engine
from tests.unit.cli.conftest import CommandLine

LINK = ("dsource", "link", "shop", "-e", "db1", "--source-config", "shop")
WRONG: list[tuple[Sequence[str], str, str]] = [
    (("export", "nothing"), "nothing named 'nothing'", "the list commands show what there is"),
    (("lineage", "extra"), "unexpected extra argument", "-h"),
    ((*LINK, "--param", "mountPath"), "no NAME=VALUE in it", "--param mountPath=/srv/clone"),
    ((*LINK, "--hook", "post-sync"), "no EVENT=FILE in it", "--hook configure-clone=./mask.sh"),
    ((*LINK, "--hook", "post-sync=nowhere.sh"), "script nowhere.sh cannot be read", "that you may read"),
    ((*LINK, "--hooks-file", "binary"), "it is no text in UTF-8", "a JSON list of objects"),
    ((*LINK, "--hooks-file", "list"), "holds no hooks", "a JSON list of objects"),
    ((*LINK, "--params-file", "nowhere"), "nowhere cannot be read: No such file", "mountPath: /srv/clone"),
    ((*LINK, "--params-file", "."), ". cannot be read: Is a directory", "mountPath: /srv/clone"),
    ((*LINK, "--params-file", "binary"), "it is no text in UTF-8", "mountPath: /srv/clone"),
    ((*LINK, "--params-file", "broken"), "neither JSON nor YAML", "mountPath: /srv/clone"),
    ((*LINK, "--params-file", "list"), "holds no object", "mountPath: /srv/clone"),
    (
        ("plugin", "run", "kettle", "virtual.start", "--arguments", "binary"),
        "no text in UTF-8",
        "a readable file",
    ),
    (
        ("plugin", "run", "kettle", "virtual.start", "--arguments", "broken"),
        "neither YAML nor JSON",
        "repository:",
    ),
    (("hook", "template", "remove", "mask"), "no hook template named 'mask'", "hook template set NAME FILE"),
    (("hook", "template", "set", "mask", "."), ". cannot be read: Is a directory", "that you may read"),
    (("hook", "template", "set", "mask", "binary"), "it is no text in UTF-8", "that you may read"),
    (("hook", "template", "set", "mask", "empty"), "must not be empty", "the file of a script"),
    (("hook", "template", "set", "mask", "list", "--timeout", "-1"), "at least one second", "--timeout"),
    (("vdb", "stop", "masked"), "no VDB named 'masked'", "Make one: dlpx-remote vdb provision"),
    (("unmount", "VDB-9"), "There is no volume VDB-9", "dlpx-remote storage list"),
    (("nfs", "configure", "--listen", "db1!"), "'db1!' is no address to listen on", "0.0.0.0"),
    (("nfs", "configure", "--address", "a b"), "neither a host name nor an address", "an IP address"),
    (("nfs", "host", "db1", "--address", "a b"), "neither a host name nor an address", "an IP address"),
    (("nfs", "host", "db1", "--client", "10.0.0.0/99"), "neither a host name nor", "an IP address"),
    (("nfs", "host", "db1", "--option", "rw hard"), "'rw hard' is no mount option", "--option rw"),
]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: CommandLine) -> Path:
    """With an environment and a pool, and some files that are not what they should be beside it."""
    monkeypatch.chdir(tmp_path)
    Path("binary").write_bytes(bytes(range(256)))
    Path("broken").write_text('{"mountPath": ')
    Path("list").write_text("[1]")
    Path("empty").write_text("")
    for words in (
        ("env", "add", "db1", "--host", "db1.example.com", "--user", "oracle"),
        ("storage", "init", "pool", "--backend", "copy"),
        ("plugin", "init", "kettle"),
    ):
        assert command(*words).code == 0
    return tmp_path


@pytest.mark.usefixtures("state")
def test_each_wrong_use_says_what_to_do(command: CommandLine) -> None:
    for words, said, action in WRONG:
        outcome = command(*words)

        assert outcome.code == 2, (words, outcome)
        assert said in " ".join(outcome.err.split()), words
        assert action in " ".join(outcome.err.split()), words
        foreign = [text for text in ("[Errno", "codec", "Traceback") if text in outcome.err]
        assert not foreign, (words, outcome.err)


@pytest.mark.usefixtures("state")
def test_commands_that_change_how_hosts_are_reached_say_what_came_of_them(command: CommandLine) -> None:
    for words, said in (
        (("nfs", "configure"), "nothing is changed"),
        (("nfs", "configure", "--address", "10.1.2.3"), "dlpx-remote nfs status"),
        (("nfs", "host", "db1", "--client", "192.168.7.0/24"), "Kept for db1"),
        (("nfs", "host", "db1"), "as usual"),
        (("nfs", "stop"), "does not run"),
    ):
        outcome = command(*words)

        assert (outcome.code, said in outcome.out) == (0, True), (words, outcome)


def test_before_anything_is_linked_the_tree_says_the_command_that_does(command: CommandLine) -> None:
    told = command("lineage").out

    words = told.partition("dlpx-remote ")[2].split()
    assert words[:2] == ["dsource", "link"]
    assert command(*words[:2], "shop", *words[3:]).err.startswith(
        "Error: There is no environment named 'ENV'"
    )


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_state_that_cannot_be_a_directory_is_named(
    command: CommandLine, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")

    outcome = command("--state", str(tmp_path / place), "env", "list")

    assert outcome.code == 229
    assert f"The state directory {tmp_path / place} cannot be used" in outcome.err
    assert "--state, or the variable DLPX_REMOTE_STATE" in outcome.err


def test_a_state_that_is_no_database_is_left_as_it_is(command: CommandLine, tmp_path: Path) -> None:
    Engine(tmp_path / "state").close()
    (tmp_path / "state" / "state.db").write_bytes(b"rubbish" * 1000)

    outcome = command("--state", str(tmp_path / "state"), "env", "list")

    assert outcome.code == 229
    assert "is damaged, or is not a database" in outcome.err
    assert (tmp_path / "state" / "state.db").read_bytes() == b"rubbish" * 1000
