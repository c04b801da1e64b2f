"""``dlpx-remote plugin run``: one operation of a plugin's directory against a host, for its author."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlpx_remote.cli.bundles import unfolded
from dlpx_remote.cli.exits import Exit
from dlpx_remote.cli.logins import HostLogin
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, complain, say, warn
from dlpx_remote.cli.reading import text_of
from dlpx_remote.cli.session import ask_secret, settings
from dlpx_remote.errors import InvalidRequest, RemoteError

if TYPE_CHECKING:
    from dlpx_remote.authoring import SeenCall, TriedOperation
    from dlpx_remote.engine import EnvironmentSpec

_LOOK_AGAIN = 0.3


@unfolded
def run_operation(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The directory that holds plugin_config.yml.")],
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="For example discovery.repository.")],
    *,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="USER@HOST:PORT", help="Where; a throw-away host unless given."),
    ] = None,
    arguments: Annotated[
        Path | None,
        typer.Option(
            "--arguments",
            metavar="FILE",
            help="YAML or JSON with the operation's arguments by name. What is left out is filled in: the "
            "connection, and the repository and source config if just one is discovered.",
        ),
    ] = None,
    data_set: Annotated[
        Path | None,
        typer.Option("--data-set", metavar="DIR", help="Directory here that libs.run_sync copies into."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Run it again whenever a file of the plugin changes.")
    ] = False,
    login: HostLogin,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run one operation of a plugin: what went in, what ran on the host and how long, what came out.

    Exit code 1 when the operation failed. Nothing is stored.

    \b
    Example:
      dlpx-remote plugin run ./my-plugin discovery.repository
      dlpx-remote plugin run ./my-plugin discovery.source_config --host oracle@db1 --watch
      dlpx-remote plugin run ./my-plugin virtual.configure --arguments configure.yml
    """
    spec = None if host is None else login.specification(None, host)
    with _host(spec, path) as there:

        def once() -> bool:
            from dlpx_remote.authoring import try_plugin_operation

            tried = try_plugin_operation(
                path,
                operation,
                there,
                _read_arguments(arguments),
                data_set=data_set,
                prompt=ask_secret,
                on_warning=warn,
                trace=settings(context).figures,
            )
            if output is Output.JSON:
                as_json(tried)
            else:
                _print(tried)
            return tried.failure is None

        passed = _watched(once, path, arguments) if watch else once()
    if not passed:
        raise typer.Exit(Exit.PART_FAILED)


@contextmanager
def _host(spec: EnvironmentSpec | None, plugin: Path) -> Iterator[EnvironmentSpec]:
    if spec is not None:
        yield spec
        return
    from dlpx_remote.authoring import host_types

    if "WINDOWS" in host_types(plugin):
        from dlpx_remote.demo.hosts import windows_host

        answers = plugin / "tests" / "windows_answers.json"
        with windows_host(answers if answers.is_file() else None) as stand_in:
            yield stand_in.spec
        return
    from dlpx_remote.demo.single import throw_away_host

    with throw_away_host() as made:
        yield made


def _watched(once: Callable[[], bool], path: Path, arguments: Path | None) -> bool:
    """Run it after every change until interrupted; a fault of the author's is said, and it goes on."""
    while True:
        before = _state(path, arguments)  # of what runs now: a change meanwhile is one, too
        try:
            once()
        except RemoteError as error:
            complain(str(error))
        say("Waiting for a change; Ctrl-C ends it.")
        sys.stdout.flush()
        while _state(path, arguments) == before:
            time.sleep(_LOOK_AGAIN)
        say()


def _print(tried: TriedOperation) -> None:
    say(f"{tried.operation} of {tried.plugin} on {tried.host}")
    for name, value in tried.arguments.items():
        say(f"  {name} = {_shown(value)}")
    for number, call in enumerate(tried.calls, 1):
        _print_call(number, call, "" if call.operation == tried.operation else f", for {call.operation}")
    for line in tried.log:
        say(f"  | {line}")
    if tried.failure is not None:
        say(f"failed after {tried.seconds:.3f} s: {tried.failure.message}")
        for more in (tried.failure.action, tried.failure.output):
            if more:
                say(_indented(more, "  "))
    elif not tried.implemented:
        say(f"The plugin has no {tried.operation}; the engine goes on without it.")
    else:
        say(f"returned after {tried.seconds:.3f} s: {_shown(tried.result)}")


def _print_call(number: int, call: SeenCall, note: str) -> None:
    how = call.failure or ("done" if call.exit_code is None else f"exit code {call.exit_code}")
    names = f" with {', '.join(call.variables)}" if call.variables else ""
    say(f"  {number}. libs.{call.function}{names}{note}: {how}, {call.seconds * 1000:.1f} ms")
    for mark, text in (("$ ", call.script), ("", call.stdout), ("! ", call.stderr)):
        if text.strip():
            say(_indented(text.strip("\n"), f"       {mark}"))


def _indented(text: str, by: str) -> str:
    return "\n".join(f"{by}{line}" for line in text.splitlines())


def _shown(value: Any) -> str:
    return json.dumps(_without_connections(value), indent=2, ensure_ascii=False).replace("\n", "\n  ")


def _without_connections(value: Any) -> Any:
    """A value with every connection and environment in it as one word; their parts are always the same."""
    if isinstance(value, list):
        return [_without_connections(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"environment", "user"}:
        return f"{value['user']['name']} on {value['environment']['name']}"
    if value.keys() == {"name", "reference", "host"}:
        return value["name"]
    return {name: _without_connections(one) for name, one in value.items()}


def _read_arguments(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    import yaml

    text = text_of(file, f"The file {file} with the arguments", "Give --arguments a readable file.")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidRequest(
            f"The arguments in {file} are neither YAML nor JSON: {error}.",
            "Write an object with the operation's argument names, for example: repository: {name: …}",
        ) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidRequest(
            f"The arguments in {file} must be an object with the operation's argument names.",
            "For example: repository: {name: …}",
        )
    return found


def _state(path: Path, arguments: Path | None) -> dict[Path, tuple[int, int]]:
    """When each file of the plugin, and the one with the arguments, was changed, and how long it is."""
    files = [one for one in path.rglob("*") if "__pycache__" not in one.parts]
    state = {}
    for one in [*files, *([arguments] if arguments else [])]:
        try:
            found = one.stat()
        except FileNotFoundError:
            continue
        state[one] = (found.st_mtime_ns, found.st_size)
    return state
