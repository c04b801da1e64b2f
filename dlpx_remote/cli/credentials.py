"""``dlpx-remote credential``: passwords and key pairs under a name, which many may use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.options import SECRET, OutputOption, reference
from dlpx_remote.cli.output import Output, as_json, say, table
from dlpx_remote.cli.reading import text_of
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine_credentials import Credential

commands = typer.Typer(
    help="Credentials: passwords and key pairs by name; only where they are is kept.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the credential.")]


@commands.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    *,
    username: Annotated[
        str | None, typer.Option("--username", metavar="USER", help="The account that it is for.")
    ] = None,
    username_from: Annotated[
        str | None,
        typer.Option("--username-from", metavar="WHERE", help="Where the account's name is."),
    ] = None,
    password_from: Annotated[
        str | None, typer.Option("--password-from", metavar="WHERE", help=f"Where the password is: {SECRET}.")
    ] = None,
    key_from: Annotated[
        str | None,
        typer.Option("--key-from", metavar="WHERE", help="Where the private key is, in the same forms."),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="Its public half; from the key unless given."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a password or key pair a name. Plugins, environment users and sudo then take credential:NAME.

    \b
    Example:
      dlpx-remote credential add shop --username anna --password-from vault:kv/shop#password
      dlpx-remote credential add deploy --key-from file:/etc/dlpx-remote/deploy.key
      dlpx-remote vdb provision masked --from orders -e db2 --param login=credential:shop
    """
    from dlpx_remote.engine_credentials import Credential

    if (password_from is None) == (key_from is None):
        raise InvalidRequest(
            "A credential is a password or a key pair.", "Give either --password-from or --key-from."
        )
    where = reference(password_from, "--password-from") or reference(key_from, "--key-from")
    assert where is not None  # noqa: S101 - one of them was given
    with open_engine(context) as engine:
        added = engine.credentials.add(
            Credential(
                name,
                "password" if password_from is not None else "keyPair",
                where,
                username or "",
                reference(username_from, "--username-from"),
                None if public_key is None else _read(public_key),
            )
        )
    if output is Output.JSON:
        as_json(added)
        return
    say(f"Added the credential {name}. Use it as credential:{name}.")
    say(f"See what it leads to: dlpx-remote credential test {name}")


@commands.command("list")
def list_all(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the credentials, and where each is.

    \b
    Example:
      dlpx-remote credential list
    """
    with open_engine(context) as engine:
        found = engine.credentials.all()
    if output is Output.JSON:
        as_json(found)
    elif not found:
        say("No credential yet. Add one: dlpx-remote credential add NAME --password-from WHERE")
    else:
        table(
            ("credential", "type", "for", "where"),
            ((one.name, one.kind, _account(one), one.secret_from) for one in found),
        )


@commands.command("test")
def try_out(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Look up what is behind a credential, and say what it is; the secret itself is not shown.

    \b
    Example:
      dlpx-remote credential test shop
    """
    with open_engine(context) as engine:
        found = engine.credentials.test(name)
    if output is Output.JSON:
        as_json(
            {
                "name": name,
                "kind": found.kind,
                "username": found.username,
                "public_key": found.public_key,
            }
        )
        return
    what = "a password" if found.kind == "password" else "a key pair"
    account = f" of {found.username}" if found.username else ""
    say(f"{name} leads to {what}{account}.")
    if found.kind == "keyPair":
        say(found.public_key or "A passphrase guards the private key.")


@commands.command("remove")
def remove(context: typer.Context, name: NameArgument) -> None:
    """Forget a credential that nothing uses. What it leads to stays where it is.

    \b
    Example:
      dlpx-remote credential remove shop
    """
    with open_engine(context) as engine:
        engine.credentials.remove(name)
    say(f"Removed the credential {name}.")


def _account(credential: Credential) -> str:
    where = credential.username_from
    return credential.username if where is None else f"from {where}"


def _read(file: Path) -> str:
    return text_of(file, f"--public-key: {file}", "Name PATH.pub.").strip()
