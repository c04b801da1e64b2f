"""``dlpx-remote export``: objects as the commands that would make them again, for bash."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlpx_remote.cli.output import say
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import NotFound

if TYPE_CHECKING:
    from dlpx_remote.engine import Authentication, Engine, Environment
    from dlpx_remote.engine_credentials import Credential
    from dlpx_remote.engine_schedules import Schedule
    from dlpx_remote.engine_sources import Hook, HookTemplate, Script, SourceView

_PROGRAM = "dlpx-remote"


def export(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="OBJECT",
            help="Name or reference of an environment, credential, plugin, hook template, dSource, VDB or "
            "schedule; storage for the pool, nfs for the NFS server; everything unless given.",
        ),
    ] = None,
) -> None:
    """Print the bash commands that would make an object again; of everything, in an order that works.

    They make objects of what is there then: a VDB of the newest snapshot of what it came from. Nothing that
    they hold is a secret; secrets are named by where they are.

    \b
    Example:
      dlpx-remote export > engine.sh
      dlpx-remote export masked
      dlpx-remote export nfs
    """
    with open_engine(context) as engine:
        lines = list(_everything(engine)) if name is None else _one(engine, name)
    for line in lines:
        say(line)


def _everything(engine: Engine) -> Iterator[str]:
    yield from _storage(engine)
    yield from _nfs(engine)
    for credential in engine.credentials.all():
        yield _credential(credential)
    for environment in engine.environments():
        yield from _environment(engine, environment)
    for plugin in engine.plugins():
        yield _command("plugin", "add", str(plugin.directory))
    if engine.environments() and engine.plugins():
        yield _command("discover")
    for template in engine.hooks.templates():
        yield _template(template)
    sources = [*engine.dsources.all(), *engine.vdbs.all()]
    for source in _parents_first(engine, sources):
        yield from _source(engine, source)
    for schedule in engine.schedules.all():
        yield _schedule(schedule)


def _one(engine: Engine, name: str) -> list[str]:
    """The commands for what has that name; all of those that have it."""
    found = _storage(engine) if name == "storage" else _nfs(engine) if name == "nfs" else []
    for environment in engine.environments():
        if name in (environment.name, environment.reference):
            found += _environment(engine, environment)
    for plugin in engine.plugins():
        if name in (plugin.name, plugin.identifier):
            found.append(_command("plugin", "add", str(plugin.directory)))
    found += [_credential(one) for one in engine.credentials.all() if one.name == name]
    found += [_template(one) for one in engine.hooks.templates() if one.name == name]
    for source in (*engine.dsources.all(), *engine.vdbs.all()):
        if name in (source.name, source.reference):
            found += _source(engine, source)
    found += [_schedule(one) for one in engine.schedules.all() if one.reference == name.upper()]
    if not found:
        raise NotFound(
            f"There is nothing named {name!r} to export.",
            "Name an environment, credential, plugin, hook template, dSource, VDB or schedule, or storage or "
            "nfs: dlpx-remote status and the list commands show what there is.",
        )
    return found


def _storage(engine: Engine) -> list[str]:
    choice = engine.storage.choice()
    if choice is None:
        return []
    words = _given("--device", choice.device) + _given("--image", choice.image)
    words += _given("--size", choice.size) + _given("--backend", choice.kind)
    return [_command("storage", "init", str(choice.path), *words)]


def _nfs(engine: Engine) -> list[str]:
    from dlpx_remote.engine_mounts import NfsChoice

    choice, usual = engine.mounts.nfs.choice(), NfsChoice()
    if choice == usual:
        return []
    words = ["--kind", choice.kind]
    words += _given("--port", choice.port if choice.port != usual.port else None)
    words += _given("--listen", choice.listen if choice.listen != usual.listen else None)
    words += _given("--address", choice.address) + (["--any-port"] if choice.any_port else [])
    words += _given("--bus", choice.bus) + _given("--config", choice.configuration)
    return [_command("nfs", "configure", *words)]


def _credential(one: Credential) -> str:
    option = "--password-from" if one.kind == "password" else "--key-from"
    words = ["credential", "add", one.name, option, str(one.secret_from)]
    words += _given("--username", one.username) + _given("--username-from", one.username_from)
    if one.public_key is None:
        return _command(*words)
    return f"{_command(*words)} --public-key {_read_from(one.public_key)}"


def _environment(engine: Engine, one: Environment) -> Iterator[str]:
    first = one.users[0]
    words = ["env", "add", one.name, "--host", one.host, "--user", first.name, *_login(first.authentication)]
    words += _given("--port", one.port)
    for jump in one.jump:
        words += ["--jump", jump]
    words += ["--host-key", one.host_key, *_given("--fingerprint", one.fingerprint)]
    words += _given("--directory", one.directory)
    if one.windows is not None:
        words += ["--os", "windows", "--scheme", one.windows.scheme, "--authentication", one.windows.login]
        words += _given("--ca-file", one.windows.ca_file)
        words += ["--allow-unencrypted"] if one.windows.unencrypted else []
    else:
        words += ["--privilege", one.privilege]
        words += _given("--privilege-password-from", one.privilege_password_from)
    yield _command(*words)
    for user in one.users[1:]:
        yield _command("env", "user", "add", one.name, user.name, *_login(user.authentication))
    if not first.primary:
        yield _command("env", "user", "primary", one.name, one.primary_user.name)
    reach = engine.mounts.nfs.host(one.reference)
    choices = _given("--address", reach.address)
    for client in reach.clients:
        choices += ["--client", client]
    for option in reach.options:
        choices += ["--option", option]
    if choices:
        yield _command("nfs", "host", one.name, *choices)


def _login(how: Authentication) -> list[str]:
    return [
        *(["--agent"] if how.agent else []),
        *_given("--key", how.key),
        *_given("--key-from", how.key_from),
        *_given("--passphrase-from", how.passphrase_from),
        *_given("--password-from", how.password_from),
        *_given("--certificate", how.certificate),
    ]


def _template(one: HookTemplate) -> str:
    script = one.script
    words = ["hook", "template", "set", one.name]
    options = ["--interpreter", script.interpreter, *_script_options(script)]
    return f"{_command(*words)} {_read_from(script.script)} {shlex.join(options)}"


def _script_options(script: Script) -> list[str]:
    shell = ["--login-shell"] if script.login_shell else []
    return [*shell, *_given("--timeout", script.timeout)]


def _source(engine: Engine, one: SourceView) -> Iterator[str]:
    kind = one.kind
    origin = _origin(engine, one)
    if kind == "dsource":
        words = ["dsource", "link", one.name, "--environment", one.environment, "--user", one.user]
        words += ["--plugin", one.plugin, "--repository", one.repository]
        words += ["--source-config", str(one.source_config), "--interval", str(one.interval)]
        words += _given("--staging", one.staging_environment) + _given("--staging-user", one.staging_user)
    elif origin is None:
        words = ["vdb", "create-empty", one.name, "--plugin", one.plugin]
    else:
        words = ["vdb", "provision", one.name, "--from", origin]
    if kind == "vdb":
        words += ["--environment", one.environment, "--user", one.user, "--repository", one.repository]
    line = f"{_command(*words)} --params-file {_read_from(json.dumps(one.parameters, ensure_ascii=False))}"
    hooks = engine.hooks.of(one.reference)
    if hooks:
        line += f" --hooks-file {_read_from(json.dumps([_hook(each) for each in hooks], ensure_ascii=False))}"
    yield line
    if kind == "dsource" and one.snapshots:
        newest = engine.snapshots.all(one.reference)[-1]
        sync = _command("dsource", "sync", one.name)
        if newest.parameters:
            sync += f" --params-file {_read_from(json.dumps(newest.parameters, ensure_ascii=False))}"
        yield sync
    if kind == "vdb" and one.state == "enabled" and not one.active:
        yield _command("vdb", "stop", one.name)
    if one.state == "disabled":
        yield _command(kind, "disable", one.name)


def _hook(hook: Hook) -> dict[str, Any]:
    if hook.template is not None:
        return {"event": hook.event, "name": hook.name, "template": hook.template}
    return {"event": hook.event, "name": hook.name, **dataclasses.asdict(hook.script)}


def _origin(engine: Engine, one: SourceView) -> str | None:
    """The name of what a VDB came from, however often it was rolled back; None where it was made empty."""
    snapshots = {each.reference: each for each in engine.snapshots.all()}
    found = snapshots.get(one.snapshot or "")
    while found is not None and found.source == one.reference:
        found = snapshots.get(found.parent or "")
    return None if found is None else found.source_name


def _parents_first(engine: Engine, sources: Sequence[SourceView]) -> list[SourceView]:
    waiting: list[SourceView] = list(sources)
    done: list[SourceView] = []
    while waiting:
        names = {one.name for one in waiting}
        ready = [one for one in waiting if _origin(engine, one) not in names] or waiting
        done += ready
        waiting = [one for one in waiting if one not in ready]
    return done


def _schedule(one: Schedule) -> str:
    words = ["schedule", "add", one.source, one.action, "--cron", one.cron, "--zone", one.zone]
    if one.retention is not None:
        words += _given("--keep", one.retention.count) + _given("--keep-days", one.retention.days)
    return _command(*words, *([] if one.enabled else ["--disabled"]))


def _given(option: str, value: object) -> list[str]:
    return [] if value is None or value == "" else [option, str(value)]


def _read_from(text: str) -> str:
    """Bash's way to give a text where a file is wanted."""
    return f"<(printf %s {shlex.quote(text)})"


def _command(*words: str) -> str:
    return shlex.join([_PROGRAM, *words])
