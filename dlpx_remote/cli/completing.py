"""Completion of the names that the state knows: environments, dSources, VDBs, snapshots, jobs and others.

It looks into the state only where there is one, asks no host, and says nothing when something is wrong: a
shell that completes is no place for errors.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlpx_remote.cli.session import Settings, database_url

if TYPE_CHECKING:
    from dlpx_remote.engine import Engine

_JOBS = 50
_MAKES_NEW = ("add", "link", "provision", "create-empty", "set", "init")


def _sources(engine: Engine) -> list[str]:
    return [*(one.name for one in engine.dsources.all()), *(one.name for one in engine.vdbs.all())]


def _snapshots(engine: Engine) -> list[str]:
    return [one.reference for one in engine.snapshots.all()]


_NAMES: dict[str, Callable[[Engine], list[str]]] = {
    "environment": lambda engine: [one.name for one in engine.environments()],
    "plugin": lambda engine: [one.name for one in engine.plugins()],
    "credential": lambda engine: [one.name for one in engine.credentials.all()],
    "dsource": lambda engine: [one.name for one in engine.dsources.all()],
    "vdb": lambda engine: [one.name for one in engine.vdbs.all()],
    "source": _sources,
    "snapshot": _snapshots,
    "origin": lambda engine: [*_sources(engine), *_snapshots(engine)],
    "job": lambda engine: [one.reference for one in engine.jobs.all(newest=_JOBS)],
    "schedule": lambda engine: [one.reference for one in engine.schedules.all()],
    "template": lambda engine: [one.name for one in engine.hooks.templates()],
}
_BY_METAVAR = {
    "ENV": "environment",
    "[ENV]": "environment",
    "P": "plugin",
    "PLUGIN": "plugin",
    "S": "origin",
    "SNAPSHOT": "snapshot",
    "JOB": "job",
    "SCHEDULE": "schedule",
    "T": "template",
}
_BY_GROUP = {
    "credential": "credential",
    "dsource": "dsource",
    "vdb": "vdb",
    "snapshot": "source",
    "schedule": "source",
    "hook": "source",
}
"""What ``NAME`` is in the commands of a group."""


def complete_names(command: Any) -> Any:
    """Have every parameter of a command tree completed that names something; gives the tree back."""
    for words, leaf in leaves(command):
        for parameter in leaf.params:
            kind = kind_of(words, parameter)
            if kind is not None:
                parameter.shell_complete = _completer(kind)
    return command


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of a tree that does something, with its words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
        return
    for name, inner in below.items():
        yield from leaves(inner, (*words, name))


def kind_of(words: tuple[str, ...], parameter: Any) -> str | None:
    """What a parameter names; None where it is nothing that the state knows, or a name that is to be new."""
    metavar = str(parameter.metavar)
    if metavar == "NAME":
        makes_new = words[-1] in _MAKES_NEW and words[0] not in ("schedule", "hook")
        return None if makes_new else _BY_GROUP.get(words[0])
    if metavar == "T" and words[-1] in _MAKES_NEW and words[1:2] == ("template",):
        return None
    if metavar == "S" and parameter.name == "source_config":
        return None
    return _BY_METAVAR.get(metavar)


def _completer(kind: str) -> Callable[[Any, str], list[Any]]:
    def complete(context: Any, incomplete: str) -> list[Any]:
        return [_item(name) for name in known(kind, context) if name.startswith(incomplete)]

    return complete


def _item(name: str) -> Any:
    """As the library of the command line wants it, which typer brings along or imports by its version."""
    try:
        module = importlib.import_module("typer._click.shell_completion")
    except ImportError:
        module = importlib.import_module("click.shell_completion")
    return module.CompletionItem(name)


def known(kind: str, context: Any) -> list[str]:
    """The names of a kind; none where there is no state, or it cannot be read."""
    given = context.find_root().params
    chosen = Settings(given.get("state"), given.get("database"), given.get("database_from"))
    try:
        from dlpx_remote import engine

        state = Path(chosen.state or engine.default_state()).expanduser()
        url = database_url(chosen)
        if url is None and not (state / "state.db").exists():
            return []
        with engine.Engine(state, url, on_warning=lambda _words: None) as opened:
            return sorted(_NAMES[kind](opened))
    except Exception:
        if os.environ.get("DLPX_REMOTE_COMPLETION_ERRORS"):
            raise
        return []
