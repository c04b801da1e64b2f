"""The durable engine, DBOS: the only module that knows it.

DBOS keeps a journal of every job's steps in tables of its own, calls a job's workflow again where a process
that ran it has died, and makes sure that only one process does. It exists once in a process, so one engine at
a time can run jobs there.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import SQLAlchemyError

from dlpx_remote.jobs.base import JobError
from dlpx_remote.redaction import redact
from dlpx_remote.store.database import make_private

if TYPE_CHECKING:
    from dbos import DBOS

JOURNAL = "jobs.db"
"""The journal's file beside a state in SQLite."""
JOURNAL_VERSION = "dlpx-remote-1"
"""What DBOS calls the application's version. It stands for how jobs use the journal, not for the workflows: a
job that is in flight during an upgrade is taken over, and the titles of its steps tell whether its workflow
still is the same."""
_WORKFLOW = "job"
_POLLING = 0.5  # seconds between two looks for jobs that this process is to resume

_LOG = logging.getLogger(__name__)
_guard = threading.Lock()
_run: Callable[[str], None] | None = None


class Durable:
    """The launched engine.

    Args:
        url: the database of the state.
        executor: the name of this process there.
        run: runs a job by its reference in one of the engine's threads; called again for one that is resumed.

    Raises:
        JobError: another engine of this process runs jobs, or the journal cannot be opened.
    """

    def __init__(self, url: URL, executor: str, run: Callable[[str], None]) -> None:
        global _run
        with _guard:
            if _run is not None:
                raise JobError(
                    "Another engine that is open in this process runs jobs already.",
                    "Close that one first, or use another process.",
                )
            _run = run
        self._queue = _queue_of(executor)
        try:
            self._dbos = _launch(url, executor)
        except BaseException as error:
            with _guard:
                _run = None
            if isinstance(error, Exception) and not isinstance(error, JobError):
                raise JobError(
                    f"The journal of jobs cannot be opened: {redact(str(error))}",
                    "See whether the database answers and takes writes.",
                ) from error
            raise

    def start(self, workflow_id: str, reference: str) -> None:
        """Run a job in this process; nothing happens if the journal has it already."""
        from dbos import SetWorkflowID

        with SetWorkflowID(workflow_id):
            self._dbos.start_workflow(_workflow(), reference)

    def resume(self, workflow_id: str, reference: str) -> None:
        """Run in this process again a job whose process has died.

        It goes through a queue of this process alone: on one that all share, it could be taken by a process
        that dies before it has made the job its own, and nobody would notice.
        """
        from dbos import error

        try:
            self._dbos.resume_workflow(workflow_id, queue_name=self._queue)
        except error.DBOSNonExistentWorkflowError:
            self.start(workflow_id, reference)  # its process died before it had the job in the journal

    def forget(self, executor: str) -> None:
        """A process has died, and its jobs have been resumed here."""
        self._dbos.delete_queue(_queue_of(executor))

    def journal(self, action: Callable[[], str]) -> str:
        """The recorded text of the workflow's next step, or that of ``action``, which is then recorded."""
        return self._dbos.run_step({"name": "step"}, action)

    def close(self) -> None:
        """Stop taking jobs. Those that run go on until they notice."""
        global _run
        with _guard:
            _run = None
        with contextlib.suppress(SQLAlchemyError):  # whoever finds our jobs tries it again
            self._dbos.delete_queue(self._queue)
        self._dbos.destroy()


def forget_runs(url: URL, workflow_ids: Sequence[str]) -> None:
    """Remove what the journal has of runs that have ended; whether an engine is launched here or not.

    Raises:
        JobError: the journal cannot be opened or written.
    """
    from dbos import DBOSClient

    try:
        client = DBOSClient(system_database_url=_journal_url(url))
        try:
            client.delete_workflows(list(workflow_ids))
        finally:
            client.destroy()
    except Exception as error:
        raise JobError(
            f"The journal of jobs cannot be written: {redact(str(error))}",
            "See whether the database answers and takes writes.",
        ) from error


def _queue_of(executor: str) -> str:
    return f"executor-{executor}"


_registered: Any = None


def _workflow() -> Any:
    global _registered
    from dbos import DBOS

    if _registered is None:

        def job(reference: str) -> None:
            run = _run
            if run is not None:
                run(reference)

        _registered = DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)(job)
    return _registered


_SUBSECONDS = (3, 42, 0)


class _JournalConnection(sqlite3.Connection):
    """Does not wait for the disk at every commit.

    A power cut may take the last commits away. Nothing is run twice for that: that a step had begun, and how
    the one before it ended, is in the state's own database, which does wait.

    On Python 3.12 and later DBOS asks SQLite for fractions of a second (``unixepoch('subsec')``), which is
    NULL before SQLite 3.42, so that no row could be written. There it gets the time of day from here.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous = NORMAL")
        if sqlite3.sqlite_version_info < _SUBSECONDS:
            self.create_function("unixepoch", -1, lambda *_: time.time())


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _launch(url: URL, executor: str) -> type[DBOS]:
    from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

    _workflow()
    config: DBOSConfig = {
        "name": "dlpx-remote",
        "system_database_url": _journal_url(url),
        "application_version": JOURNAL_VERSION,
        "executor_id": executor,
        "serializer": DBOSPortableJSONSerializer(),  # the default one would unpickle what the database holds
        "log_level": "WARNING",
        "enable_otlp": False,
        "db_engine_kwargs": {"connect_args": {"factory": _JournalConnection}} if _is_file(url) else {},
        "notification_listener_polling_interval_sec": 0.1,  # its thread looks that often whether to end
    }
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # or DBOS adds one that writes to the terminal
    DBOS(config=config)
    try:
        DBOS.listen_queues([_queue_of(executor)])
        DBOS.launch()
        DBOS.register_queue(_queue_of(executor), polling_interval_sec=_POLLING, on_conflict="always_update")
    except BaseException:
        DBOS.destroy()
        raise
    return DBOS


def _journal_url(url: URL) -> str:
    """Where DBOS keeps its tables: a file beside that of SQLite, or the same database."""
    if not _is_file(url):
        return url.render_as_string(hide_password=False)
    path = Path(str(url.database)).with_name(JOURNAL)
    make_private(path)
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 60})
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")  # kept in the file; half the syncs
    engine.dispose()
    return f"sqlite:///{path}"
