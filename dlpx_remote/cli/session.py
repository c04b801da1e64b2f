"""What the options before the command say, and the engine opened with them."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dlpx_remote.cli.output import complain, complain_as_is, plain, warn
from dlpx_remote.cli.progress import hidden_progress
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.logfile import JsonFormatter
from dlpx_remote.redaction import RedactingFilter

if TYPE_CHECKING:
    from dlpx_remote.engine import Engine, Figures

_one_question_at_a_time = threading.Lock()


@dataclass
class Settings:
    """The options before the command; filled in once they are read.

    Attributes:
        state: the engine's state directory; None takes the user's.
        database: URL of the database, without a password; None where it is not typed.
        database_from: where such a URL is, which may hold a password.
        verbose: debug log, figures and stack traces on stderr.
        json_log: one JSON object a line, in the log file and on stderr.
        figures: add up what happens on hosts where somebody wants to see it.
    """

    state: Path | None = None
    database: str | None = None
    database_from: str | None = None
    verbose: bool = False
    json_log: bool = False
    figures: Figures | None = None


def settings(context: typer.Context) -> Settings:
    """Those of the command that runs."""
    found = context.find_object(Settings)
    return found if found is not None else Settings()


def open_engine(context: typer.Context) -> Engine:
    """The engine on the state that the person chose; use it as a context manager."""
    from dlpx_remote import engine

    chosen = settings(context)
    return engine.Engine(
        chosen.state,
        database_url(chosen),
        prompt=ask_secret,
        on_warning=warn,
        trace=chosen.figures,
        json_log=chosen.json_log,
    )


def database_url(chosen: Settings) -> str | None:
    """The URL of the database that the person chose; None for SQLite in the state directory.

    Raises:
        InvalidRequest: a password was typed, or two databases.
        SecretUnavailable: there is no URL where it should be.
    """
    from dlpx_remote import engine, engine_jobs

    if chosen.database is not None and chosen.database_from is not None:
        raise InvalidRequest("There are two databases.", "Give either --database or --database-from.")
    if chosen.database is not None:
        return engine_jobs.refuse_password(chosen.database)
    where = chosen.database_from
    reference = None if where is None else engine.parse_secret_reference(where, "--database-from")
    return engine_jobs.database_from(reference)


def ask_secret(question: str) -> str:
    """Ask at the terminal without showing what is typed.

    Raises:
        InvalidRequest: there is no terminal to ask at.
    """
    import getpass

    with _one_question_at_a_time, hidden_progress():
        if not _has_terminal():
            raise InvalidRequest(
                f"There is no terminal to ask at: {plain(question)}",
                "Give the secret from env:VARIABLE, file:PATH or command:COMMAND instead of prompt.",
            )
        try:
            return getpass.getpass(f"{plain(question).rstrip(' :')}: ")
        except EOFError:
            complain("")
            raise InvalidRequest("Nothing was typed.", "Run the command again and type the secret.") from None


def _has_terminal() -> bool:
    try:
        with Path("/dev/tty").open("rb"):
            return True
    except OSError:
        return sys.stdin is not None and sys.stdin.isatty()


class _Handler(logging.Handler):
    """Writes to the stderr of the moment, so that whoever replaced it gets the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if isinstance(self.formatter, JsonFormatter):
                complain_as_is(line)
            else:
                complain(line)
        except Exception:  # the logging protocol: a handler reports its own failure this way
            self.handleError(record)


@contextmanager
def logs(verbose: bool, as_json: bool = False) -> Iterator[None]:
    """The log on stderr while a command runs: errors, or everything when ``verbose``."""
    handler = _Handler()
    handler.setLevel(logging.DEBUG if verbose else logging.ERROR)  # what matters is said in words anyway
    handler.addFilter(RedactingFilter())
    handler.setFormatter(
        JsonFormatter() if as_json else logging.Formatter("%(levelname)s %(name)s: %(message)s")
    )
    root, paramiko, own = (logging.getLogger(name) for name in ("", "paramiko", "dlpx_remote"))
    before = paramiko.level, own.level
    # The library logs as errors what the engine reports in its own words.
    paramiko.setLevel(logging.INFO if verbose else logging.CRITICAL)
    if verbose:
        own.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        paramiko.setLevel(before[0])
        own.setLevel(before[1])


@contextmanager
def figures(chosen: Settings) -> Iterator[None]:
    """When the command has ended, one line on stderr for each address that was used, if ``verbose``."""
    if not chosen.verbose:
        yield
        return
    from dlpx_remote import engine

    chosen.figures = engine.Figures()
    try:
        yield
    finally:
        for host in chosen.figures.take():
            complain(f"{host.in_words()}.")
