"""``dlpx-remote backup`` and ``restore``: the state in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, count, say
from dlpx_remote.cli.session import database_url, settings
from dlpx_remote.errors import NotFound

if TYPE_CHECKING:
    from dlpx_remote.engine_backup import Archive


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write; must not be there yet.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep the engine's state in one file: what it knows, its plugins, host keys and the ledger.

    It holds no secrets, and no data sets: those stay in the pool. While it is made, no job may run.

    \b
    Example:
      dlpx-remote backup dlpx-remote-monday.tar.gz
    """
    from dlpx_remote.engine import default_state
    from dlpx_remote.engine_backup import back_up

    state = (settings(context).state or default_state()).expanduser().absolute()
    database = database_url(settings(context))
    if database is None and not (state / "state.db").exists():
        raise NotFound(f"There is no state in {state}.", "Name its directory with --state.")
    archive = back_up(state, database, file)
    if output is Output.JSON:
        as_json(archive)
    else:
        say(f"Kept in {file}: {_tally(archive)}.")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` has written.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the state of a backup, where there is none yet.

    What was made or deleted since the backup is not known to it: `doctor` shows the differences afterwards.

    \b
    Example:
      dlpx-remote --state /var/lib/dlpx-remote restore dlpx-remote-monday.tar.gz
    """
    from dlpx_remote import engine_backup
    from dlpx_remote.engine import default_state

    state = (settings(context).state or default_state()).expanduser().absolute()
    archive = engine_backup.restore(file, state, database_url(settings(context)))
    if output is Output.JSON:
        as_json(archive)
        return
    say(f"Restored into {state}: {_tally(archive)}, as of {archive.made:%Y-%m-%d %H:%M} UTC.")
    say("See what differs from it by now: dlpx-remote doctor")


def _tally(archive: Archive) -> str:
    rows = count(sum(archive.rows.values()), "row")
    return f"{rows}, {count(archive.files, 'file')}, {archive.size} bytes"
