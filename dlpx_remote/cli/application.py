"""The commands put together, the options before the command, and what happens when one of them fails."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dlpx_remote.cli import (
    backups,
    credentials,
    demo,
    discovery,
    dsources,
    environments,
    events,
    exporting,
    hooks,
    jobs,
    mounts,
    overview,
    plugins,
    schedules,
    scripts,
    snapshots,
    source_configs,
    storage,
    trying,
    vdbs,
)
from dlpx_remote.cli.completing import complete_names
from dlpx_remote.cli.exits import Exit, report_defect, report_error
from dlpx_remote.cli.output import ReaderGone, say, speak_json
from dlpx_remote.cli.session import Settings, figures, logs, settings
from dlpx_remote.errors import RemoteError

PROGRAM = "dlpx-remote"


class LogFormat(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


application = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
application.add_typer(environments.commands, name="env")
plugins.commands.command("run")(trying.run_operation)
application.add_typer(credentials.commands, name="credential")
application.add_typer(plugins.commands, name="plugin")
application.command("discover")(discovery.discover)
application.add_typer(source_configs.commands, name="source-config")
application.add_typer(dsources.commands, name="dsource")
application.add_typer(vdbs.commands, name="vdb")
application.add_typer(snapshots.commands, name="snapshot")
application.add_typer(hooks.commands, name="hook")
application.command("run")(scripts.run_script)
application.add_typer(jobs.commands, name="job")
application.add_typer(schedules.commands, name="schedule")
application.add_typer(events.commands, name="events")
application.command("worker")(jobs.worker)
application.add_typer(storage.commands, name="storage")
application.add_typer(mounts.commands, name="nfs")
application.command("mount")(mounts.mount)
application.command("unmount")(mounts.unmount)
application.command("doctor")(storage.doctor)
application.command("backup")(backups.backup)
application.command("restore")(backups.restore)
application.command("export")(exporting.export)
application.command("status")(overview.status)
application.command("lineage")(overview.lineage)
application.command("demo")(demo.demo)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


@application.callback()
def before_the_command(
    context: typer.Context,
    *,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            envvar="DLPX_REMOTE_STATE",
            metavar="DIR",
            help="Where the engine keeps what it knows; the user's data directory unless given.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="Keep it in this database instead: postgresql://USER@HOST/NAME; the password elsewhere.",
        ),
    ] = None,
    database_from: Annotated[
        str | None,
        typer.Option(
            "--database-from",
            metavar="WHERE",
            help="Where the URL of the database is, with its password: env:VAR, file:PATH or command:CMD.",
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Log to stderr what is done, and how long it took on each host; stack traces for errors.",
        ),
    ] = False,
    log_format: Annotated[
        LogFormat,
        typer.Option(
            "--log-format",
            envvar="DLPX_REMOTE_LOG_FORMAT",
            help="Of the log file and of what is said on stderr; json: one object a line.",
        ),
    ] = LogFormat.TEXT,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run virtualization plugins against real hosts.

    \b
    Example:
      dlpx-remote demo
      dlpx-remote env add db1 --host db1.example.com --user oracle
      dlpx-remote plugin add ./my-plugin
      dlpx-remote discover
    """
    chosen = settings(context)
    chosen.state, chosen.verbose = state, verbose
    chosen.database, chosen.database_from = database, database_from
    chosen.json_log = log_format is LogFormat.JSON
    speak_json(chosen.json_log)
    context.with_resource(logs(verbose, chosen.json_log))
    context.with_resource(figures(chosen))


@functools.cache
def _parser(commands: typer.Typer) -> Any:
    return complete_names(typer.main.get_command(commands))


# Typer would make it anew for each command line, which costs a process of many more than most commands do.


def run(arguments: Sequence[str] | None = None) -> int:
    """One command line, whatever happens, to an exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = Settings()
    speak_json(False)
    _print_whatever_comes()
    stdout, stderr = sys.stdout, sys.stderr
    try:
        try:
            _parser(application)(words, prog_name=PROGRAM, obj=chosen)
        except RemoteError as error:
            return report_error(error, chosen.verbose)
        except BrokenPipeError:
            raise
        except Exception as error:
            return report_defect(error, chosen.verbose)
        finally:
            sys.stdout.flush()
    except SystemExit as leaving:
        if sys.stdout is not stdout:  # typer puts a stand-in there when the reader went away
            sys.stdout, sys.stderr = stdout, stderr
            return _reader_went_away()
        return _code_of(leaving)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except (BrokenPipeError, ReaderGone):
        return _reader_went_away()
    return Exit.DONE


def _print_whatever_comes() -> None:
    """A name that the terminal's encoding cannot show must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def _code_of(leaving: SystemExit) -> int:
    if isinstance(leaving.code, int):
        return leaving.code
    return Exit.DONE if leaving.code is None else Exit.PART_FAILED


def _reader_went_away() -> int:
    """Nobody reads stdout any more; keep the interpreter from complaining about it at its end."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return Exit.BROKEN_PIPE
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), descriptor)
    return Exit.BROKEN_PIPE
