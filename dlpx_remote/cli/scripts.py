"""``dlpx-remote run``: one script on one environment, with its own output and exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.output import as_json, complain, raw
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine import SecretReference


class RunOutput(StrEnum):
    """How the result of a script is printed."""

    RAW = "raw"
    JSON = "json"


def run_script(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="ENV", help="Name or reference.")],
    script: Annotated[
        str | None,
        typer.Argument(metavar="SCRIPT", help="Bash or PowerShell script, or - to read it from stdin."),
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="PATH", help="Read the script from this file.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Another user than the primary one.")] = None,
    variable_from: Annotated[
        list[str] | None,
        typer.Option(
            "--variable-from",
            metavar="NAME=WHERE",
            help="A variable of the script, from env:VAR, file:PATH, command:CMD or prompt. Repeatable.",
        ),
    ] = None,
    login_shell: Annotated[
        bool, typer.Option("--login-shell", help="Read the account's login start-up files first.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0.001, metavar="SECONDS", help="End the script after this time."),
    ] = None,
    output: Annotated[
        RunOutput, typer.Option("--output", help="raw: stdout and stderr as they came; json: one document.")
    ] = RunOutput.RAW,
) -> None:
    """Run a Bash script on an environment, or a PowerShell one on Windows. The exit code is the script's own.

    Variables are secrets: they are read from where you say, and never shown in a process list.

    \b
    Example:
      dlpx-remote run db1 'hostname; id -un'
      dlpx-remote run db1 --file ./report.sh --timeout 60
      dlpx-remote run db1 'psql -c "select 1"' --variable-from PGPASSWORD=file:/run/secrets/pg
      echo 'exit 3' | dlpx-remote run db1 -
    """
    from dlpx_remote.engine import CommandEnded

    text = _read_script(script, file)
    references = _variables(variable_from or ())
    with open_engine(context) as engine:
        variables = {name: engine.secret(where, f"value of {name}") for name, where in references.items()}
        try:
            result = engine.run(
                environment,
                text,
                user=user,
                variables=variables,
                login_shell=login_shell,
                timeout=timeout,
            )
        except CommandEnded as ended:
            raw(ended.stdout, ended.stderr)  # what had come until then may tell why
            raise
    if output is RunOutput.JSON:
        as_json(result)
    else:
        raw(result.stdout, result.stderr)
    if not 0 <= result.exit_code <= 255:
        complain(f"The script's exit code {result.exit_code} does not fit into ours; ours is 255.")
        raise typer.Exit(255)
    raise typer.Exit(result.exit_code)


def _read_script(script: str | None, file: Path | None) -> str | bytes:
    """The script from the one place that was given.

    Raises:
        InvalidRequest: none or two places, or a file that cannot be read.
    """
    if (script is None) == (file is None):
        raise InvalidRequest(
            "There is no script to run." if script is None else "There are two scripts to run.",
            "Give it as an argument, as - to read it from stdin, or with --file PATH.",
        )
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as error:
            raise InvalidRequest(
                f"The script {file} cannot be read: {error.strerror}.", "Give --file a readable file."
            ) from None
    if script == "-":
        return sys.stdin.buffer.read()
    return script or ""


def _variables(given: Sequence[str]) -> dict[str, SecretReference]:
    from dlpx_remote.engine import parse_secret_reference

    found: dict[str, SecretReference] = {}
    for text in given:
        name, separator, where = text.partition("=")
        if not separator or not name.isidentifier() or not name.isascii():
            raise InvalidRequest(
                "--variable-from needs NAME=WHERE.",
                "For example PGPASSWORD=env:PGPASSWORD or TOKEN=file:/run/secrets/token.",
            )
        found[name] = parse_secret_reference(where, f"--variable-from {name}")
    return found
