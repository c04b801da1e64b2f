"""The page on the command line has every command, in a block that is carried out."""

from __future__ import annotations

import typer

from dlpx_remote.cli.application import application
from dlpx_remote.cli.completing import leaves
from tests.docs.markdown import ROOT, blocks


def test_every_command_stands_in_the_page_on_the_command_line() -> None:
    shown = "\n".join(block.text for block in blocks(ROOT / "docs" / "command-line.md"))
    known = [" ".join(words) for words, _ in leaves(typer.main.get_command(application))]

    assert [words for words in known if f"dlpx-remote {words}" not in shown] == []
