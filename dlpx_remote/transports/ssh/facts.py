"""Asks for the facts of an account and its host, and reads the answer. Pure text.

The question starts no process where bash and the kernel can answer it: every login pays for it.
"""

from __future__ import annotations

from dlpx_remote.transports.base import ShellFacts


def parse_facts(login: str, output: bytes, *, no_runner: str | None = None) -> ShellFacts:
    """``name=value`` lines as facts; what is missing keeps its default.

    Args:
        login: the login name, where the host does not say.
        output: of the facts script.
        no_runner: see ``ShellFacts``.
    """
    values: dict[str, str] = {}
    tools: dict[str, str] = {}
    for line in output.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.startswith("tool."):
            tools[name.removeprefix("tool.")] = value
        else:
            values[name] = value
    return ShellFacts(
        user=values.get("user") or login,
        uid=_number(values.get("uid")),
        gid=_number(values.get("gid")),
        home=values.get("home", ""),
        shell=values.get("shell", ""),
        locale=values.get("locale") or None,
        tools=tools,
        operating_system=values.get("operating_system", ""),
        kernel=values.get("kernel", ""),
        architecture=values.get("architecture", ""),
        hostname=values.get("hostname", ""),
        no_runner=no_runner,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


LOCALE_FUNCTION = rb"""
utf8_locale() { # sets locale; what bash itself takes for one character tells whether the host has it
  local LC_ALL word
  for locale in C.UTF-8 en_US.UTF-8; do
    LC_ALL=$locale word=$'\303\251'
    [ ${#word} != 1 ] || return
  done
  while read -r locale; do
    case $locale in *.UTF-8|*.utf8) locale=${locale/.utf8/.UTF-8}; return;; esac
  done < <(locale -a)
  locale=
} 2>/dev/null
"""
"""Defines ``utf8_locale``."""

FACT_FUNCTION = (
    LOCALE_FUNCTION
    + rb"""facts() { # calls fact NAME VALUE for everything of ShellFacts
  local PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin name value tool found
  if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)); then name='\u' name=${name@P}; fi
  [ -n "$name" ] && [ "$name" != '\u' ] || name=$(id -un)
  fact user "$name"; fact uid $EUID; fact gid "${GROUPS[0]}"; fact shell "$SHELL"; fact hostname "$HOSTNAME"
  case $name in *[!A-Za-z0-9_.-]*|-*) value=$(unset HOME; printf %s ~);; *) eval "value=~$name";; esac
  fact home "$value"
  if { read -r name </proc/sys/kernel/ostype && read -r value </proc/sys/kernel/osrelease; }; then
    fact kernel "$name $value"
  else fact kernel "$(uname -sr)"; fi
  case $HOSTTYPE in x86_64|aarch64) value=$HOSTTYPE;; *) value=$(uname -m);; esac
  fact architecture "$value"
  while IFS='=' read -r name value; do
    [ "$name" = PRETTY_NAME ] || continue
    value=${value%[\"\']}; fact operating_system "${value#[\"\']}"
  done </etc/os-release
  for tool in bash sudo doas rsync expect jq setsid mount umount mount.nfs mount.nfs4 showmount; do
    found=
    if hash "$tool"; then found=${BASH_CMDS[$tool]}; fi
    ((BASH_VERSINFO[0] >= 4)) || found=$(type -P "$tool")
    [ -n "$found" ] && fact "tool.$tool" "$found"
  done
  fact locale "$locale"
} 2>/dev/null
"""
)
"""Defines ``utf8_locale``, and ``facts`` to be called after it; ``fact`` is the caller's."""

FACTS = (
    rb"""fact() { printf '%s=%s\n' "$1" "$2"; }
"""
    + FACT_FUNCTION
    + rb"""
(utf8_locale; facts)
exit 0
"""
)
"""Prints everything of ``ShellFacts`` as ``name=value`` lines."""
