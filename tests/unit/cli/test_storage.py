"""``storage`` and ``doctor`` as a person types them: words, JSON and exit codes, on a pool of copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlpx_remote.engine import Engine
from tests.unit.cli.conftest import CommandLine


@pytest.fixture
def pool(command: CommandLine, tmp_path: Path) -> Path:
    outcome = command("storage", "init", str(tmp_path / "pool"), "--backend", "copy")
    assert outcome.code == 0, outcome.err
    return tmp_path / "pool"


def test_init_shows_the_pool_and_warns_of_copies(command: CommandLine, tmp_path: Path) -> None:
    outcome = command("storage", "init", str(tmp_path / "pool"), "--backend", "copy")
    assert outcome.code == 0
    assert "the time and space of its data" in outcome.out
    assert "Warning: " in outcome.err
    assert "every snapshot and clone is a full copy" in outcome.err


def test_init_again_is_no_error(command: CommandLine, pool: Path) -> None:
    assert command("storage", "init", str(pool)).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "100G"), "needs a size"),
        (("--image", "/x", "--size", "much"), "'much' is no size"),
        (("--image", "/x", "--size", "1K"), "at least 256.0 MiB"),
        (("--device", "/dev/x", "--image", "/x", "--size", "1T"), "not both"),
    ],
)
def test_a_choice_that_cannot_be_is_wrong_use(
    command: CommandLine, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = command("storage", "init", str(tmp_path / "pool"), *words)
    assert (outcome.code, said in outcome.err) == (2, True)


def test_without_a_pool_commands_say_how_to_get_one(command: CommandLine) -> None:
    for words in (("storage", "status"), ("storage", "list")):
        outcome = command(*words)
        assert (outcome.code, "dlpx-remote storage init" in outcome.err) == (2, True)


def test_status_as_json(command: CommandLine, pool: Path) -> None:
    outcome = command("storage", "status", "--output", "json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["kind"], found["path"], found["volumes"]) == (0, "copy", str(pool), 0)


def test_status_says_what_was_put_in_order(command: CommandLine, pool: Path) -> None:
    from dlpx_remote.store import Kind

    with Engine() as engine:
        engine.storage.pool().create("going")
        engine.storage.ledger.removing(Kind.VOLUME, "going")
    outcome = command("storage", "status")
    assert "1 volume that an engine had begun with: deleted (going)." in outcome.out


def test_list_shows_volumes_and_sizes(command: CommandLine, pool: Path) -> None:
    assert command("storage", "list").out == "There are no data sets yet.\n"
    with Engine() as engine:
        opened = engine.storage.pool()
        opened.create("data", job="JOB-7")
        (opened.path("data") / "file").write_bytes(b"x" * 1024 * 1024)
        opened.snapshot("data", "first")
        opened.clone("first", "clone")
    lines = command("storage", "list", "--sizes").out.splitlines()
    assert lines[0].split() == [
        "name",
        "kind",
        "made",
        "from",
        "state",
        "job",
        "made",
        "(UTC)",
        "holds",
        "of",
        "its",
        "own",
    ]
    assert lines[2].startswith("data ")
    assert "JOB-7" in lines[2]
    assert lines[3].split()[:4] == ["first", "snapshot", "data", "present"]
    assert lines[4].rstrip().endswith("1.0 MiB")
    found = json.loads(command("storage", "list", "--output", "json").out)
    assert [(one["name"], one["kind"], one["parent"]) for one in found] == [
        ("data", "data set", None),
        ("first", "snapshot", "data"),
        ("clone", "clone", "first"),
    ]
    (pool / "volumes" / "clone").rename(pool / "clone")
    assert " lost " in command("storage", "list").out


def test_doctor_shows_everything_and_fails_only_for_what_is_wrong(command: CommandLine, pool: Path) -> None:
    outcome = command("doctor")
    assert outcome.code == 0
    for area in ("machine", "storage", "NFS", "ledger"):
        assert f"\n{area} " in outcome.out
    (pool / "volumes" / "stranger").mkdir()
    outcome = command("doctor", "--output", "json")
    assert outcome.code == 1
    (wrong,) = [one for one in json.loads(outcome.out) if one["standing"] == "wrong"]
    assert wrong["what"] == "volume stranger"
    assert wrong["action"]
