"""Reads what the facts script printed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dlpx_remote.transports.base import ShellFacts


def parse_facts(login: str, output: bytes) -> ShellFacts:
    """``name=value`` lines as facts; what is missing keeps its default.

    Args:
        login: the login name, where the host does not say.
        output: of the facts script.
    """
    values: dict[str, str] = {}
    tools: dict[str, str] = {}
    locales: list[str] = []
    for line in output.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.startswith("tool."):
            tools[name.removeprefix("tool.")] = value
        elif name == "locale":
            locales.append(value)
        else:
            values[name] = value
    return ShellFacts(
        user=values.get("user") or login,
        uid=_number(values.get("uid")),
        gid=_number(values.get("gid")),
        home=values.get("home", ""),
        shell=values.get("shell", ""),
        locale=utf8_locale(locales),
        tools=tools,
        operating_system=values.get("operating_system", ""),
        kernel=values.get("kernel", ""),
        architecture=values.get("architecture", ""),
        hostname=values.get("hostname", ""),
    )


def utf8_locale(available: Sequence[str]) -> str | None:
    """The UTF-8 locale to use: C's where there is one, else English, else any, else None."""
    names = [name.replace(".utf8", ".UTF-8") for name in available]  # glibc takes either, others only this
    for wanted in ("C.UTF-8", "en_US.UTF-8"):
        if wanted in names:
            return wanted
    return names[0] if names else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
