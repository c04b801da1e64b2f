"""``credential`` on the command line, on a real state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CommandLine

PASSWORD = "open-spelt-at-the-prompt"


def test_a_credential_is_added_listed_tested_and_removed(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", PASSWORD)
    state = ("--state", str(tmp_path / "state"))

    empty = command(*state, "credential", "list")
    added = command(*state, "credential", "add", "shop", "--username", "anna", "--password-from", "env:SHOP")
    listed = command(*state, "credential", "list")
    tested = command(*state, "credential", "test", "shop")
    as_json = json.loads(command(*state, "credential", "test", "shop", "--output", "json").out)
    removed = command(*state, "credential", "remove", "shop")

    assert "credential add NAME" in empty.out
    assert "Use it as credential:shop." in added.out
    assert "env:SHOP" in listed.out
    assert tested.out == "shop leads to a password of anna.\n"
    assert as_json == {"name": "shop", "kind": "password", "username": "anna", "public_key": None}
    assert removed.out == "Removed the credential shop.\n"
    assert PASSWORD not in "".join(each.out + each.err for each in (added, listed, tested, removed))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give either --password-from or --key-from."),
        (("--password-from", "env:A", "--key-from", "env:B"), "Give either"),
        (("--password-from", "open sesame"), "must be a reference"),
        (("--key-from", "env:A", "--public-key", "/nowhere/key.pub"), "cannot be read"),
    ],
)
def test_wrong_use_says_what_to_do(
    command: CommandLine, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = command("--state", str(tmp_path / "state"), "credential", "add", "shop", *words)

    assert outcome.code == 2
    assert said in outcome.err
    assert "Action:" in outcome.err
