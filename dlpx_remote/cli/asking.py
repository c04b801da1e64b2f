"""What the commands on dSources and VDBs share: parameters, hooks, asking for a job and following it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlpx_remote.cli.bundles import Bundle
from dlpx_remote.cli.following import run_job
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, say
from dlpx_remote.cli.reading import text_of
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine import Engine
    from dlpx_remote.engine_sources import Asked, Given, Hook

_PARAMETERS = "Name a file with an object of names and values: mountPath: /srv/clone"
_HOOKS = "Name a file with a JSON list of objects with event, name, and script or template."

ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="A parameter that the plugin's schema has; A.B=VALUE for a property of an object. Repeatable.",
    ),
]
ParamsFileOption = Annotated[
    Path | None,
    typer.Option("--params-file", metavar="FILE", help="Parameters as a JSON or YAML object; --param wins."),
]
HookOption = Annotated[
    list[str] | None,
    typer.Option(
        "--hook",
        metavar="EVENT=FILE",
        help="A script to run at EVENT: bash, or expect for .exp, PowerShell for .ps1; "
        "EVENT=template:NAME runs a template. Repeatable.",
    ),
]
LoginHookOption = Annotated[
    list[str] | None,
    typer.Option("--login-hook", metavar="EVENT=FILE", help="The same in a login shell (bash only)."),
]
HooksFileOption = Annotated[
    Path | None,
    typer.Option("--hooks-file", metavar="FILE", help="Hooks as `export` writes them: a JSON list."),
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Leave the job to a worker and print its reference.")
]
NoWaitOption = Annotated[
    bool,
    typer.Option("--no-wait", help="Fail at once where another job holds what this one needs."),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Take along what depends on it, and go on where a host or plugin fails."),
]


@dataclass(frozen=True)
class JobOptions(Bundle):
    """How a job is asked for, and how its result is printed."""

    detach: DetachOption = False
    no_wait: NoWaitOption = False
    output: OutputOption = Output.TABLE

    def asked(self) -> Asked:
        """As the engine takes it."""
        return asked(self.detach, self.no_wait)


@dataclass(frozen=True)
class HookedJobOptions(JobOptions):
    """The same, with hooks for this run."""

    hook: HookOption = None
    login_hook: LoginHookOption = None

    def how(self) -> dict[str, Any]:
        """The arguments of the engine's methods that take hooks."""
        return {"hooks": hooks(self.hook, self.login_hook), "asked": self.asked()}


_INTERPRETERS = {".exp": "expect", ".tcl": "expect", ".ps1": "powershell"}


def given(texts: Sequence[str] | None, file: Path | None) -> Given:
    """Parameters from the options.

    Raises:
        InvalidRequest: one has no ``=``, or the file cannot be read.
    """
    from dlpx_remote.engine_sources import Given

    named: dict[str, str] = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name.strip("."):
            raise InvalidRequest(
                f"--param {text}: there is no NAME=VALUE in it.", "For example: --param mountPath=/srv/clone"
            )
        named[name] = value
    return Given(_from_file(file) if file is not None else {}, named)


def hooks(files: Sequence[str] | None, login: Sequence[str] | None = None) -> list[Hook]:
    """Hooks from the options.

    Raises:
        InvalidRequest: one has no ``=``, or its file cannot be read.
    """
    found = [*((text, False) for text in files or ()), *((text, True) for text in login or ())]
    return [_hook(text, number, in_login_shell) for number, (text, in_login_shell) in enumerate(found, 1)]


def hooks_of_file(file: Path | None) -> list[Hook]:
    """Hooks from a file that ``export`` has written.

    Raises:
        InvalidRequest: it cannot be read, or holds something else.
    """
    from dlpx_remote.engine_sources import Hook, Script

    if file is None:
        return []
    text = text_of(file, f"--hooks-file: {file}", _HOOKS)
    try:
        found = []
        for each in json.loads(text):
            said = dict(each)
            event, name, template = said.pop("event"), said.pop("name"), said.pop("template", None)
            found.append(Hook(event, name, Script(**said), template))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRequest(f"--hooks-file: {file} holds no hooks: {error}.", _HOOKS) from None
    return found


def read_script(file: Path) -> str:
    """The text of a hook.

    Raises:
        InvalidRequest: it cannot be read.
    """
    return text_of(file, f"The script {file}", "Name a file with a script that you may read.")


def interpreter_of(file: Path) -> Any:
    """What runs a script, by its name."""
    return _INTERPRETERS.get(file.suffix.lower(), "bash")


def asked(detach: bool, no_wait: bool) -> Asked:
    """How a job is asked for, from the options."""
    from dlpx_remote.engine_sources import Asked

    return Asked(detach=detach, wait=not no_wait)


def carry_out(
    context: typer.Context,
    ask: Callable[[Engine], str],
    done: Callable[[Any], str],
    *,
    detach: bool,
    output: Output,
) -> None:
    """Ask for a job, follow it to its end unless it is detached, and say what came of it.

    Args:
        context: of the command.
        ask: asks for the job; gives its reference.
        done: says in a sentence what the job's result means.
        detach: leave it to a worker.
        output: how to print.
    """
    run_job(context, ask, detach=detach, output=output, then=lambda _engine, job: say(done(job.result)))


def _hook(text: str, number: int, login_shell: bool) -> Hook:
    from dlpx_remote.engine_sources import Hook, Script

    event, separator, where = text.partition("=")
    if not separator or not where:
        raise InvalidRequest(
            f"--hook {text}: there is no EVENT=FILE in it.", "For example: --hook configure-clone=./mask.sh"
        )
    if where.startswith("template:"):
        name = where.removeprefix("template:")
        return Hook(event, f"{number} {name}"[:100], template=name)
    file = Path(where)
    script = Script(interpreter_of(file), login_shell, read_script(file))
    return Hook(event, f"{number} {file.name}"[:100], script)


def _from_file(file: Path) -> dict[str, Any]:
    text = text_of(file, f"--params-file: {file}", _PARAMETERS)
    try:
        values = _json_or_yaml(text, file)
    except ValueError as error:
        raise InvalidRequest(
            f"--params-file: {file} is neither JSON nor YAML: {error}", _PARAMETERS
        ) from None
    if not isinstance(values, dict):
        raise InvalidRequest(f"--params-file: {file} holds no object.", _PARAMETERS)
    return values


def _json_or_yaml(text: str, file: Path) -> Any:
    """JSON is not always YAML, so that is tried first."""
    try:
        return json.loads(text)
    except ValueError:
        if file.suffix.lower() == ".json":
            raise
        return _yaml(text)


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
