"""``dlpx-remote env``: the hosts that the engine works on, and their users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli import discovery
from dlpx_remote.cli.bundles import unfolded
from dlpx_remote.cli.exits import Exit
from dlpx_remote.cli.logins import HostLogin, UserLogin
from dlpx_remote.cli.options import (
    DirectoryOption,
    OutputOption,
    PrivilegeOption,
    PrivilegePasswordOption,
    reference,
)
from dlpx_remote.cli.output import Output, as_json, count, say, table, warn
from dlpx_remote.cli.progress import DiscoveryProgress
from dlpx_remote.cli.session import open_engine

if TYPE_CHECKING:
    from dlpx_remote.engine import Environment, EnvironmentUser, TestStep

commands = typer.Typer(help="Environments: hosts, their users and how to log in.", no_args_is_help=True)
users = typer.Typer(help="Further users of an environment.", no_args_is_help=True)
commands.add_typer(users, name="user")

EnvironmentArgument = Annotated[str, typer.Argument(metavar="ENV", help="Name or reference.")]


@commands.command("add")
@unfolded
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    host: Annotated[
        str,
        typer.Option("--host", help="Name, address or a Host of ~/.ssh/config; user@host:port works too."),
    ],
    *,
    user: Annotated[
        str | None, typer.Option("--user", help="Login name; ~/.ssh/config's unless given.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", help="22 unless given here or in ~/.ssh/config; on Windows 5986, over HTTP 5985."
        ),
    ] = None,
    login: HostLogin,
    directory: DirectoryOption = None,
    privilege: PrivilegeOption = "sudo",
    privilege_password_from: PrivilegePasswordOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add an environment. Nothing is asked of the host yet: env test does that.

    \b
    Example:
      dlpx-remote env add db1 --host db1.example.com --user oracle --key ~/.ssh/id_ed25519
      dlpx-remote env add db2 --host oracle@db2:2222 --password-from prompt --host-key accept-new
      dlpx-remote env add db3 --host 10.0.0.3 --user oracle --jump me@gateway.example.com
      dlpx-remote env add win1 --os windows --host win1 --user Administrator --password-from env:PASSWORD
    """
    spec = login.specification(
        name,
        host,
        user=user,
        port=port,
        directory=directory,
        privilege=privilege,
        privilege_password_from=privilege_password_from,
    )
    with open_engine(context) as engine:
        added = engine.add_environment(spec)
    if output is Output.JSON:
        as_json(added)
        return
    say(f"Added environment {added.name} ({added.reference}).")
    say(f"See what works there: dlpx-remote env test {added.name}")


@commands.command("list")
def list_all(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the environments.

    \b
    Example:
      dlpx-remote env list
      dlpx-remote env list --output json
    """
    with open_engine(context) as engine:
        found = engine.environments()
    if output is Output.JSON:
        as_json(found)
    elif not found:
        say("No environment yet. Add one: dlpx-remote env add NAME --host HOST --user USER")
    else:
        table(
            ("environment", "address", "type", "operating system", "users", "reference"),
            (
                (
                    environment.name,
                    _address(environment),
                    environment.host_type.value,
                    environment.facts.operating_system if environment.facts else "not asked yet",
                    ", ".join(user.name for user in environment.users),
                    environment.reference,
                )
                for environment in found
            ),
        )


@commands.command("show")
def show(context: typer.Context, name: EnvironmentArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one environment: how it is reached, its users, and what is known of the host.

    \b
    Example:
      dlpx-remote env show db1
    """
    with open_engine(context) as engine:
        environment = engine.environment(name)
    if output is Output.JSON:
        as_json(environment)
    else:
        _print_environment(environment)


@commands.command("test")
def try_out(
    context: typer.Context,
    name: EnvironmentArgument,
    user: Annotated[str | None, typer.Option("--user", help="Another user than the primary one.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Try step by step what works, and say what to do about what does not. Exit code 1 when a step failed.

    \b
    Example:
      dlpx-remote env test db1
      dlpx-remote env test db1 --user postgres
    """
    with open_engine(context) as engine:
        as_they_come = _print_step if output is Output.TABLE else None
        steps = engine.test_environment(name, user, on_step=as_they_come)
    if output is Output.JSON:
        as_json({"ok": not _failed(steps), "steps": steps})
    else:
        warnings = sum(step.outcome == "warning" for step in steps)
        failed = sum(step.outcome == "failed" for step in steps)
        say()
        say(
            f"{count(len(steps), 'step')}: {sum(step.outcome == 'ok' for step in steps)} ok, "
            f"{count(warnings, 'warning')}, {failed} failed."
        )
    if _failed(steps):
        raise typer.Exit(Exit.PART_FAILED)


@commands.command("refresh")
def refresh(context: typer.Context, name: EnvironmentArgument, output: OutputOption = Output.TABLE) -> None:
    """Collect what is known of the host again, and discover there with every plugin added.

    \b
    Example:
      dlpx-remote env refresh db1
    """
    with open_engine(context) as engine, DiscoveryProgress() as progress:
        environment, report = engine.refresh_environment(name, on_event=progress)
        engine.jobs.finish()  # what it may have taken over while it waited
    if output is Output.JSON:
        as_json({"environment": environment, "discovery": discovery.as_document(report)})
    else:
        _print_environment(environment)
        say()
        discovery.print_report(report)
    if report.failed:
        raise typer.Exit(Exit.PART_FAILED)


@commands.command("privilege")
def set_privilege(
    context: typer.Context,
    name: EnvironmentArgument,
    way: Annotated[
        str,
        typer.Argument(metavar="WAY", help="sudo, doas, none, or command: and the words of a program."),
    ],
    *,
    password_from: PrivilegePasswordOption = None,
) -> None:
    """Change how the users of an environment become root there. What works, env test says.

    \b
    Example:
      dlpx-remote env privilege db1 sudo --privilege-password-from file:/run/secrets/db1
      dlpx-remote env privilege db1 doas
      dlpx-remote env privilege db1 'command:/opt/site/become {user}'
    """
    with open_engine(context) as engine:
        environment = engine.set_privilege(name, way, reference(password_from, "--privilege-password-from"))
    say(f"Users of {environment.name} become root by {_privilege(environment)}.")


@commands.command("remove")
def remove(context: typer.Context, name: EnvironmentArgument) -> None:
    """Forget an environment and what was discovered on it, and clean up on the host where it answers.

    \b
    Example:
      dlpx-remote env remove db1
    """
    with open_engine(context) as engine:
        removed = engine.remove_environment(name)
    say(f"Removed environment {removed.environment.name} and what was discovered on it.")
    if removed.directory and removed.cleaned:
        say(f"Nothing of the engine is left in {removed.directory} on the host.")
    elif not removed.cleaned:
        warn(f"{removed.directory} may be left on the host: {removed.detail}")


@users.command("add")
@unfolded
def add_user(
    context: typer.Context,
    name: EnvironmentArgument,
    user: Annotated[str, typer.Argument(metavar="USER", help="Login name.")],
    *,
    login: UserLogin,
    primary: Annotated[
        bool, typer.Option("--primary", help="Operations run as this user unless another is asked for.")
    ] = False,
) -> None:
    """Add another user to an environment.

    \b
    Example:
      dlpx-remote env user add db1 postgres --key ~/.ssh/postgres
      dlpx-remote env user add db1 admin --password-from file:/run/secrets/admin --primary
    """
    with open_engine(context) as engine:
        environment = engine.add_user(name, user, login.authentication(), primary)
    _print_users(environment)


@users.command("primary")
def set_primary_user(
    context: typer.Context,
    name: EnvironmentArgument,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user that the environment has.")],
) -> None:
    """Make a user the one that operations run as.

    \b
    Example:
      dlpx-remote env user primary db1 postgres
    """
    with open_engine(context) as engine:
        environment = engine.set_primary_user(name, user)
    _print_users(environment)


@users.command("remove")
def remove_user(
    context: typer.Context,
    name: EnvironmentArgument,
    user: Annotated[str, typer.Argument(metavar="USER", help="Login name; not the primary user.")],
) -> None:
    """Remove a user from an environment.

    \b
    Example:
      dlpx-remote env user remove db1 postgres
    """
    with open_engine(context) as engine:
        environment = engine.remove_user(name, user)
    _print_users(environment)


def _failed(steps: list[TestStep]) -> bool:
    return any(step.outcome == "failed" for step in steps)


def _print_step(step: TestStep) -> None:
    say(f"{step.outcome:<8} {step.name:<28} {step.detail}".rstrip())
    if step.action and step.outcome != "ok":
        say(f"{'':<8} Action: {step.action}")


def _print_users(environment: Environment) -> None:
    say(f"Users of {environment.name}:")
    table(
        ("user", "primary", "logs in with", "reference"),
        ((user.name, user.primary, _login(user), user.reference) for user in environment.users),
    )


def _print_environment(environment: Environment) -> None:
    facts = environment.facts
    lines = [
        ("environment", environment.name),
        ("reference", environment.reference),
        ("address", _address(environment)),
        ("through", ", ".join(environment.jump)),
        (
            "certificate" if environment.windows else "host key",
            environment.fingerprint or environment.host_key,
        ),
        ("type", environment.host_type.value),
        ("reached by", _reached_by(environment)),
        ("becomes root by", _privilege(environment)),
    ]
    if facts is None:
        lines.append(("facts", f"none yet: dlpx-remote env test {environment.name}"))
    else:
        lines += [
            ("operating system", facts.operating_system),
            ("kernel", facts.kernel),
            ("architecture", facts.architecture),
            ("host name", facts.hostname),
            ("uid, gid", "" if facts.uid is None else f"{facts.uid}, {facts.gid}"),
            ("home", facts.home),
            ("shell", facts.shell),
            ("locale", facts.locale or ""),
            ("tools", ", ".join(sorted(facts.tools))),
        ]
    for title, value in lines:
        if value:
            say(f"{title + ':':<18} {value}")
    _print_users(environment)


def _address(environment: Environment) -> str:
    return environment.host if environment.port is None else f"{environment.host}:{environment.port}"


def _privilege(environment: Environment) -> str:
    where = environment.privilege_password_from
    return environment.privilege if where is None else f"{environment.privilege}, password from {where}"


def _reached_by(environment: Environment) -> str:
    access = environment.windows
    if access is None:
        return ""
    ca_file = f", authorities of {access.ca_file}" if access.ca_file else ""
    return f"WinRM over {access.scheme.upper()} with {access.login}{ca_file}"


def _login(user: EnvironmentUser) -> str:
    how = user.authentication
    ways = [
        "agent" if how.agent else "",
        f"key {how.key}" if how.key else "",
        f"key from {how.key_from}" if how.key_from else "",
        f"passphrase from {how.passphrase_from}" if how.passphrase_from else "",
        f"password from {how.password_from}" if how.password_from else "",
        f"certificate {how.certificate}" if how.certificate else "",
    ]
    return ", ".join(way for way in ways if way) or "agent, then default keys"
