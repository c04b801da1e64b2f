"""Hooks and hook templates in the state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dlpx_remote.environments.registry import not_found
from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.store import Store
from dlpx_remote.store.source_models import HookRow, HookTemplateRow, SourceRow
from dlpx_remote.workflows.sources import (
    DSOURCE_EVENTS,
    EVENTS,
    Hook,
    HookTemplate,
    Kind,
    Script,
    Source,
)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}")
_INTERPRETERS = ("bash", "expect", "powershell")


class HookRecords:
    """What the state says of hooks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, source: str) -> list[Hook]:
        """The hooks of a source by reference, in the order in which they run, as they were recorded."""
        with self._store.read() as session:
            statement = select(HookRow).join(SourceRow).where(SourceRow.reference == source)
            return [_hook(row) for row in session.scalars(statement.order_by(HookRow.position))]

    def add(self, source: Source, hook: Hook) -> Hook:
        """Record another hook of a source, after those that it has.

        Raises:
            InvalidRequest: there is no such event for it, or the script cannot be.
            AlreadyExists: it has one of that name.
            NotFound: there is no such template.
        """
        check(source, hook)
        with self._store.write() as session:
            row = session.scalars(select(SourceRow).where(SourceRow.reference == source.reference)).one()
            if any(known.name == hook.name for known in row.hooks):
                raise AlreadyExists(
                    f"{source.name} has a hook named {hook.name!r} already.",
                    "Choose another name, or remove it first.",
                )
            if hook.template is not None:
                _template_row(session, hook.template)
            position = max((known.position for known in row.hooks), default=0) + 1
            row.hooks.append(
                HookRow(
                    event=hook.event,
                    name=hook.name,
                    position=position,
                    template=hook.template,
                    **_columns(hook.script),
                )
            )
        return hook

    def remove(self, source: Source, name: str) -> None:
        """Forget a hook of a source.

        Raises:
            NotFound: it has none of that name.
        """
        with self._store.write() as session:
            row = session.scalars(select(SourceRow).where(SourceRow.reference == source.reference)).one()
            for known in row.hooks:
                if known.name == name:
                    session.delete(known)
                    return
            raise not_found(
                f"hook of {source.name}",
                name,
                [known.name for known in row.hooks],
                f"See them with: dlpx-remote hook list {source.name}.",
            )

    def complete(self, hooks: Sequence[Hook]) -> list[Hook]:
        """The same with the scripts of the templates that they name.

        Raises:
            NotFound: there is no such template.
        """
        with self._store.read() as session:
            return [
                hook
                if hook.template is None
                else Hook(hook.event, hook.name, _script(_template_row(session, hook.template)))
                for hook in hooks
            ]

    # templates

    def templates(self) -> list[HookTemplate]:
        """All, by name."""
        with self._store.read() as session:
            rows = session.scalars(select(HookTemplateRow).order_by(HookTemplateRow.name))
            return [HookTemplate(row.name, _script(row)) for row in rows]

    def set_template(self, template: HookTemplate) -> None:
        """Record a template, in place of one of that name."""
        _check_name(template.name)
        check_script(template.script)
        with self._store.write() as session:
            row = session.scalars(
                select(HookTemplateRow).where(HookTemplateRow.name == template.name)
            ).first()
            if row is None:
                row = HookTemplateRow(name=template.name)
                session.add(row)
            for name, value in _columns(template.script).items():
                setattr(row, name, value)
            row.changed = datetime.now(UTC)

    def remove_template(self, name: str) -> None:
        """Forget a template that no hook runs.

        Raises:
            NotFound: there is none of that name.
            InvalidRequest: a hook runs it.
        """
        with self._store.write() as session:
            row = _template_row(session, name)
            users = session.scalars(select(HookRow).where(HookRow.template == name)).all()
            if users:
                listed = ", ".join(sorted({user.source.name for user in users}))
                raise InvalidRequest(
                    f"The hook template {name!r} is used by hooks of {listed}.", "Remove those hooks first."
                )
            session.delete(row)


def check(source: Source, hook: Hook) -> None:
    """Raise InvalidRequest unless such a source can have such a hook."""
    check_for(source.kind, hook)


def check_for(kind: Kind, hook: Hook) -> None:
    """Raise InvalidRequest unless sources of that kind can have such a hook."""
    possible = events(kind)
    if hook.event not in possible:
        raise InvalidRequest(
            f"There is no hook {hook.event!r} for a {'dSource' if kind == 'dsource' else 'VDB'}.",
            f"There are: {', '.join(possible)}.",
        )
    _check_name(hook.name)
    if hook.template is None:
        check_script(hook.script)


def events(kind: Kind) -> tuple[str, ...]:
    """The points at which hooks of sources of that kind run."""
    if kind == "dsource":
        return DSOURCE_EVENTS
    return tuple(event for event in EVENTS if event not in DSOURCE_EVENTS)


def check_script(script: Script) -> None:
    """Raise InvalidRequest unless a hook can run it."""
    if script.interpreter not in _INTERPRETERS:
        raise InvalidRequest(
            f"There is no interpreter {script.interpreter!r}.", f"There are: {', '.join(_INTERPRETERS)}."
        )
    if script.login_shell and script.interpreter != "bash":
        raise InvalidRequest("Only bash scripts can run in a login shell.", "Leave the login shell out.")
    if not script.script.strip() or "\x00" in script.script:
        raise InvalidRequest(
            "The script of a hook must not be empty or hold a NUL character.", "Name the file of a script."
        )
    if script.timeout is not None and script.timeout <= 0:
        raise InvalidRequest(
            "The time-out of a hook must be at least one second.", "Give --timeout the seconds it may take."
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be the name of a hook or template.",
            "Use at most 100 letters, digits, spaces, '.', '_' and '-', with a letter or digit first.",
        )


def _template_row(session: Session, name: str) -> HookTemplateRow:
    row = session.scalars(select(HookTemplateRow).where(HookTemplateRow.name == name)).first()
    if row is None:
        known = session.scalars(select(HookTemplateRow.name)).all()
        raise not_found("hook template", name, known, "Keep one: dlpx-remote hook template set NAME FILE")
    return row


def _columns(script: Script) -> dict[str, object]:
    return {
        "interpreter": script.interpreter,
        "login_shell": script.login_shell,
        "script": script.script,
        "timeout": script.timeout,
    }


def _script(row: HookRow | HookTemplateRow) -> Script:
    return Script(
        interpreter=row.interpreter,  # type: ignore[arg-type]  # checked when it was recorded
        login_shell=row.login_shell,
        script=row.script,
        timeout=row.timeout,
    )


def _hook(row: HookRow) -> Hook:
    return Hook(row.event, row.name, _script(row), row.template)
