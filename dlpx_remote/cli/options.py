"""Options that several commands share, one by one; those that belong together are bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.output import Output

if TYPE_CHECKING:
    from dlpx_remote.engine import SecretReference

SECRET = (  # the forms of a reference, no secret
    "env:VAR, file:PATH, command:CMD, keyring:SERVICE/ACCOUNT, vault:MOUNT/PATH#KEY, "  # noqa: S105
    "credential:NAME or prompt"
)
"""The forms of a reference to where a secret is."""

OutputOption = Annotated[Output, typer.Option("--output", help="How to print the result.")]
DirectoryOption = Annotated[
    str | None,
    typer.Option(
        "--directory",
        metavar="PATH",
        help="The engine's directory on the host; .dlpx-remote in the user's home unless given.",
    ),
]
PrivilegeOption = Annotated[
    str,
    typer.Option(
        "--privilege",
        metavar="WAY",
        help="How the user becomes root there: sudo, doas, none, or command: and the words of a program.",
    ),
]
PrivilegePasswordOption = Annotated[
    str | None,
    typer.Option(
        "--privilege-password-from",
        metavar="WHERE",
        help=f"Where the password is that sudo asks for: {SECRET}.",
    ),
]


def reference(where: str | None, option: str) -> SecretReference | None:
    """Where a secret is, from an option.

    Args:
        where: what was given; None gives None.
        option: which one it was, for the message.

    Raises:
        InvalidRequest: the reference has no known form; it is not repeated.
    """
    from dlpx_remote.engine import parse_secret_reference

    return None if where is None else parse_secret_reference(where, option)
