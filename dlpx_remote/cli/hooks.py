"""``dlpx-remote hook``: scripts of the operator's at certain points of engine operations, and templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.asking import interpreter_of, read_script
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, say, table
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine_sources import Script

commands = typer.Typer(
    help="Hooks: scripts of your own at certain points of engine operations.", no_args_is_help=True
)
templates = typer.Typer(help="Templates: scripts that several hooks run, by name.", no_args_is_help=True)
commands.add_typer(templates, name="template")

ObjectArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or reference of a dSource or VDB.")]
InterpreterOption = Annotated[
    str | None,
    typer.Option(
        "--interpreter", metavar="I", help="bash, expect or powershell; by the file's name unless given."
    ),
]
LoginOption = Annotated[
    bool, typer.Option("--login-shell", help="Read the account's login files first (bash only).")
]
TimeoutOption = Annotated[
    int | None,
    typer.Option("--timeout", metavar="SECONDS", help="End it after so long; an hour unless given."),
]


@commands.command("add")
def add(
    context: typer.Context,
    source: ObjectArgument,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="For example configure-clone or pre-sync.")],
    *,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="The script; its text is kept.")
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", metavar="T", help="Run this template instead.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="For the hook; the file's or template's.")
    ] = None,
    interpreter: InterpreterOption = None,
    login_shell: LoginOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Add a hook to a dSource or VDB, after those that it has.

    \b
    Example:
      dlpx-remote hook add masked configure-clone --file ./mask.sh
      dlpx-remote hook add orders post-sync --template tell-operations
    """
    from dlpx_remote.engine_sources import Hook, Script

    if (file is None) == (template is None):
        raise InvalidRequest("A hook runs a file or a template.", "Give --file or --template.")
    if file is not None:
        hook = Hook(event, name or file.name, _script(file, interpreter, login_shell, timeout))
    else:
        hook = Hook(event, name or str(template), Script(), template)
    with open_engine(context) as engine:
        engine.hooks.add(source, hook)
    say(f"Added the {event} hook {hook.name} to {source}.")


@commands.command("list")
def list_all(context: typer.Context, source: ObjectArgument, output: OutputOption = Output.TABLE) -> None:
    """List the hooks of a dSource or VDB, in the order in which they run.

    \b
    Example:
      dlpx-remote hook list masked
    """
    with open_engine(context) as engine:
        found = engine.hooks.of(source)
    if output is Output.JSON:
        as_json(found)
    elif not found:
        say(f"{source} has no hook. Add one: dlpx-remote hook add {source} EVENT --file FILE")
    else:
        table(
            ("event", "hook", "template", "interpreter", "login shell"),
            (
                (
                    hook.event,
                    hook.name,
                    hook.template,
                    "" if hook.template else hook.script.interpreter,
                    "yes" if hook.script.login_shell else "",
                )
                for hook in found
            ),
        )


@commands.command("remove")
def remove(
    context: typer.Context,
    source: ObjectArgument,
    name: Annotated[str, typer.Argument(metavar="HOOK", help="Name of the hook.")],
) -> None:
    """Remove a hook from a dSource or VDB.

    \b
    Example:
      dlpx-remote hook remove masked mask.sh
    """
    with open_engine(context) as engine:
        engine.hooks.remove(source, name)
    say(f"Removed the hook {name} from {source}.")


@templates.command("set")
def set_template(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="T", help="Name of the template.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The script; its text is kept.")],
    *,
    interpreter: InterpreterOption = None,
    login_shell: LoginOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Keep a script as a template, in place of one of that name.

    \b
    Example:
      dlpx-remote hook template set mask ./mask.sh
    """
    from dlpx_remote.engine_sources import HookTemplate

    with open_engine(context) as engine:
        engine.hooks.set_template(HookTemplate(name, _script(file, interpreter, login_shell, timeout)))
    say(f"Kept the hook template {name}.")


@templates.command("list")
def list_templates(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the templates.

    \b
    Example:
      dlpx-remote hook template list
    """
    with open_engine(context) as engine:
        found = engine.hooks.templates()
    if output is Output.JSON:
        as_json(found)
    elif not found:
        say("No hook template yet. Keep one: dlpx-remote hook template set NAME FILE")
    else:
        table(
            ("template", "interpreter", "login shell"),
            (
                (each.name, each.script.interpreter, "yes" if each.script.login_shell else "")
                for each in found
            ),
        )


@templates.command("remove")
def remove_template(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="T", help="Name of the template.")]
) -> None:
    """Remove a template that no hook runs.

    \b
    Example:
      dlpx-remote hook template remove mask
    """
    with open_engine(context) as engine:
        engine.hooks.remove_template(name)
    say(f"Removed the hook template {name}.")


def _script(file: Path, interpreter: str | None, login_shell: bool, timeout: int | None) -> Script:
    from dlpx_remote.engine_sources import Script

    return Script(
        interpreter=interpreter or interpreter_of(file),  # type: ignore[arg-type]  # the engine checks it
        login_shell=login_shell,
        script=read_script(file),
        timeout=timeout,
    )
