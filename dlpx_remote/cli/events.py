"""``dlpx-remote events``: a webhook that is told what happens."""

from __future__ import annotations

from typing import Annotated

import typer

from dlpx_remote.cli.options import SECRET, OutputOption, reference
from dlpx_remote.cli.output import Output, as_json, say
from dlpx_remote.cli.session import open_engine

commands = typer.Typer(
    help="Events: jobs, status changes and reboots, told to a webhook by workers.", no_args_is_help=True
)


@commands.command("configure")
def configure(
    context: typer.Context,
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="The webhook: https://host.example.com/path.")
    ] = None,
    url_from: Annotated[
        str | None,
        typer.Option("--url-from", metavar="WHERE", help="Where it is, for one that is itself a secret."),
    ] = None,
    secret_from: Annotated[
        str | None,
        typer.Option(
            "--secret-from", metavar="WHERE", help=f"Where the secret to sign requests with is: {SECRET}."
        ),
    ] = None,
) -> None:
    """Say which webhook is told of events. Workers tell it; one that does not answer holds up no job.

    \b
    Example:
      dlpx-remote events configure --url https://ops.example.com/dlpx --secret-from file:/etc/dlpx/webhook
      dlpx-remote events configure --url-from vault:kv/chat#url
    """
    from dlpx_remote.engine_events import Webhook

    with open_engine(context) as engine:
        engine.events.configure(
            Webhook(url, reference(url_from, "--url-from"), reference(secret_from, "--secret-from"))
        )
    say("Events go there from now on. Try it: dlpx-remote events test")


@commands.command("show")
def show(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show which webhook is told, how many events wait for it, and why.

    \b
    Example:
      dlpx-remote events show
    """
    with open_engine(context) as engine:
        found = engine.events.status()
    if output is Output.JSON:
        as_json(found)
        return
    webhook = found.webhook
    if webhook is None:
        say("No webhook is told. Name one: dlpx-remote events configure --url URL")
        return
    say(f"webhook:  {webhook.url or webhook.url_from}")
    say(f"signed:   {f'with {webhook.secret_from}' if webhook.secret_from else 'no'}")
    say(f"waiting:  {found.waiting}")
    if found.error:
        say(f"because:  {found.error}")


@commands.command("test")
def try_out(context: typer.Context) -> None:
    """Send the webhook an event of the kind test, now.

    \b
    Example:
      dlpx-remote events test
    """
    with open_engine(context) as engine:
        engine.events.test()
    say("The webhook took it.")


@commands.command("off")
def off(context: typer.Context) -> None:
    """Tell no webhook any more, and forget the events that wait.

    \b
    Example:
      dlpx-remote events off
    """
    with open_engine(context) as engine:
        engine.events.off()
    say("No webhook is told any more.")
