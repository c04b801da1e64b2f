"""``ssh_config``: its files read, and what they say about one host.

paramiko parses and looks up; this module adds what it lacks (``Include``, ``Match`` with the user that was
asked for, ``Match exec``) and says which options are not honoured, so that none is silently ignored. It
touches private names of paramiko's ``SSHConfig``, which ``tests/unit/transports`` pins.
"""

from __future__ import annotations

import functools
import getpass
import io
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    import paramiko

EXEC_SECONDS = 10.0
"""That a command of ``Match exec`` may take."""

_DEEPEST_INCLUDE = 8
_CHANGING = re.compile(r"exec|canonical|\$", re.IGNORECASE)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HONOURED = _words(
    "canonicaldomains canonicalizefallbacklocal canonicalizehostname canonicalizemaxdots certificatefile "
    "globalknownhostsfile hashknownhosts hostkeyalias hostname identitiesonly identityagent identityfile "
    "port proxycommand proxyjump revokedhostkeys stricthostkeychecking user userknownhostsfile"
)
"""Options that are acted on; ``StrictHostKeyChecking`` only by naming it: the engine has its own policy."""

ALGORITHMS = _words(
    "casignaturealgorithms ciphers compression compressionlevel fingerprinthash gssapikexalgorithms "
    "hostbasedacceptedalgorithms hostbasedkeytypes hostkeyalgorithms ipqos kexalgorithms macs "
    "pubkeyacceptedalgorithms pubkeyacceptedkeytypes rekeylimit requiredrsasize"
)
"""Options about the protocol's own choices: the library's are used. Told of where they may matter."""

WITHOUT_EFFECT = _words(
    "addkeystoagent batchmode canonicalizepermittedcnames channeltimeout checkhostip clearallforwardings "
    "connectionattempts connecttimeout controlmaster controlpath controlpersist dynamicforward "
    "enableescapecommandline enablesshkeysign escapechar exitonforwardfailure forkafterauthentication "
    "forwardagent forwardx11 forwardx11timeout forwardx11trusted gatewayports gssapiauthentication "
    "gssapiclientidentity gssapidelegatecredentials gssapikeyexchange gssapirenewalforcesrekey "
    "gssapiserveridentity gssapitrustdns host hostbasedauthentication ignoreunknown include localcommand "
    "localforward loglevel logverbose match nohostauthenticationforlocalhost numberofpasswordprompts "
    "obscurekeystroketiming permitlocalcommand permitremoteopen proxyusefdpass remotecommand "
    "remoteforward requesttty sendenv serveralivecountmax serveraliveinterval sessiontype stdinnull "
    "streamlocalbindmask streamlocalbindunlink syslogfacility tag tcpkeepalive tunnel tunneldevice "
    "updatehostkeys useblocklistedkeys usekeychain visualhostkey xauthlocation"
)
"""Options about terminals, forwarding, sharing and waiting: of no use for the engine, or its own concern."""


_PATHS = frozenset({"certificatefile", "identityagent", "identityfile", "userknownhostsfile"})
"""Options whose value may have the tokens of ``Match exec``; paramiko knows it of one."""


@dataclass(frozen=True)
class Settings:
    """What the configuration says about one host; :attr:`options` by lower-case name, tokens expanded."""

    options: dict[str, Any]

    def text(self, name: str) -> str | None:
        """One option; None when it is not set."""
        value = self.options.get(name)
        return value if isinstance(value, str) else None

    def on(self, name: str) -> bool:
        """Whether an option is ``yes``."""
        return (self.text(name) or "").lower() in {"yes", "true"}

    def paths(self, name: str) -> tuple[Path, ...]:
        """The files that an option lists; ``none`` is no file."""
        value = self.options.get(name) or ()
        words = [value] if isinstance(value, str) else value
        return tuple(Path(word).expanduser() for word in words if word.lower() != "none")

    @property
    def not_honoured(self) -> tuple[str, ...]:
        """Options that are set and change how ``ssh`` would connect, but not how the engine does."""
        return tuple(sorted(set(self.options) - HONOURED - WITHOUT_EFFECT))


def look_up(config: paramiko.SSHConfig, name: str, user: str | None, port: int | None) -> Settings:
    """What ``config`` says about ``name``.

    Args:
        config: from :func:`read`.
        name: as the person wrote it.
        user, port: what was asked for; they come before the configuration's, also for ``Match``.

    Raises:
        InvalidRequest: the configuration cannot be understood.
    """
    import paramiko

    given = {"user": user, "port": str(port) if port else None}
    lookup = _lookup_class()(config, {key: value for key, value in given.items() if value})
    try:
        found = dict(lookup.lookup(name))
        int(found.get("port", "22"))
    except (paramiko.SSHException, ValueError, KeyError) as error:
        raise InvalidRequest(
            f"The ssh configuration for {name} cannot be understood: {error}.",
            "Correct your ssh configuration.",
        ) from error
    return Settings(found)


def read(path: Path | None) -> paramiko.SSHConfig:
    """The configuration in ``path``, with what it includes; None reads the person's and the system's.

    Raises:
        InvalidRequest: a file that was named is missing, or one cannot be read or understood.
    """
    paths = [path] if path else [Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")]
    texts: list[tuple[Path, str]] = []
    for file in paths:
        try:
            texts.append((file, "\n".join(_with_includes(file, "", 0))))
        except FileNotFoundError as error:
            if path is None:
                continue
            raise InvalidRequest(f"There is no ssh configuration file {file}.", "Check the path.") from error
        except OSError as error:
            raise InvalidRequest(
                f"The ssh configuration file {file} cannot be read: {error.strerror}.",
                "Check its permissions.",
            ) from error
    return _parsed(tuple(texts))


@functools.lru_cache(maxsize=8)
def _parsed(texts: tuple[tuple[Path, str], ...]) -> paramiko.SSHConfig:
    """The configuration that these texts make; looking something up does not change it."""
    import paramiko

    config = paramiko.SSHConfig()
    for file, text in texts:
        try:
            config.parse(io.StringIO(text))
        except (paramiko.SSHException, ValueError) as error:
            raise InvalidRequest(
                f"The ssh configuration file {file} cannot be understood: {error}.",
                "Correct it; ssh -G HOST shows what ssh makes of it.",
            ) from error
    return config


@functools.lru_cache(maxsize=8)
def is_steady(config: paramiko.SSHConfig) -> bool:
    """Whether a configuration says the same at any time: runs no program, asks no name service or variable.

    Args:
        config: from :func:`read`, which gives the same one as long as the files say the same.
    """
    return _CHANGING.search(str(config._config)) is None  # type: ignore[attr-defined]


def _with_includes(file: Path, criteria: str, depth: int) -> list[str]:
    """The lines of ``file`` with what ``Include`` names in its place (ssh_config(5)); paramiko ignores it.

    Args:
        file: to read.
        criteria: of the block that includes it, as ``Match`` has them; blocks in it need both.
        depth: of including.
    """
    lines: list[str] = []
    outer, here = criteria, criteria
    for line in file.read_text("utf-8", "replace").splitlines():
        key, rest = _key_and_rest(line)
        if key in {"host", "match"}:
            here = " ".join(filter(None, (outer, _criteria(key, rest))))
            lines.append(f"{line}" if not outer else _block(here))
        elif key == "include" and depth < _DEEPEST_INCLUDE:
            for included in _included(file, rest):
                lines += [_block(here), *_with_includes(included, here, depth + 1), _block(here)]
        else:
            lines.append(line)
    return lines


def _key_and_rest(line: str) -> tuple[str, str]:
    key, _, rest = line.strip().replace("=", " ", 1).partition(" ")
    return key.lower(), rest.strip()


def _criteria(key: str, rest: str) -> str:
    """A block's condition as ``Match`` criteria; empty where it always holds."""
    if key == "host":
        return "" if rest == "*" else f"originalhost {','.join(rest.split())}"
    return "" if rest.lower() == "all" else rest


def _block(criteria: str) -> str:
    return f"Match {criteria or 'all'}"


def _included(file: Path, rest: str) -> list[Path]:
    base = Path("/etc/ssh") if file.is_relative_to("/etc/ssh") else Path("~/.ssh").expanduser()
    found: list[Path] = []
    for pattern in rest.split():
        place = base / Path(pattern.strip('"')).expanduser()
        found += [included for included in sorted(place.parent.glob(place.name)) if included.is_file()]
    return found


@functools.cache
def _lookup_class() -> Any:
    """Made when it is first needed: who only describes a target need not load paramiko."""
    import paramiko
    from paramiko.ssh_exception import ConfigParseError

    class Lookup(paramiko.SSHConfig):
        """One look into a parsed configuration, with what was asked for put before it."""

        def __init__(self, parsed: paramiko.SSHConfig, given: dict[str, str]) -> None:
            super().__init__()
            self._config = parsed._config  # type: ignore[attr-defined]
            self._given = given
            self._text = ""
            self._answers: dict[str, bool] = {}

        def _lookup(self, hostname: str, options: Any = None, **passes: bool) -> Any:
            if options is None:
                options = paramiko.SSHConfigDict(self._given)
            return super()._lookup(hostname, options, **passes)  # type: ignore[misc]

        def _does_match(
            self, match_list: Any, target_hostname: str, canonical: bool, final: bool, options: Any
        ) -> bool:
            """Whether every criterion of a ``Match`` line holds; paramiko takes unknown ones for true."""
            for criterion in match_list:
                kind, pattern = criterion["type"].lower(), criterion["param"]
                if kind == "all":
                    holds = True
                elif kind in {"canonical", "final"}:
                    holds = canonical if kind == "canonical" else final
                elif kind == "exec":
                    holds = self._exits_well(self._tokenize(options, target_hostname, "match-exec", pattern))
                else:
                    value = self._value(kind, target_hostname, options)
                    holds = self._pattern_matches(pattern, value)  # type: ignore[attr-defined]
                if holds == criterion["negate"]:
                    return False
            return bool(match_list)

        def _exits_well(self, command: str) -> bool:
            """Each command is run once, though the blocks are gone through twice."""
            if command not in self._answers:
                self._answers[command] = _succeeds(command)
            return self._answers[command]

        def _value(self, kind: str, target_hostname: str, options: Any) -> str:
            local = getpass.getuser()
            values = {
                "host": options.get("hostname") or target_hostname,
                "originalhost": target_hostname,
                "user": options.get("user") or local,
                "localuser": local,
            }
            if kind not in values:
                raise ConfigParseError(f"Match {kind} is not supported")
            return str(values[kind])

        def _tokenize(self, config: Any, target_hostname: str, key: str, value: str) -> str:
            if "%" not in value:
                return value
            self._text = value.replace("%%", "\0")
            done = super()._tokenize(config, target_hostname, key, self._text)  # type: ignore[misc]
            return str(done).replace("\0", "%")

        def _allowed_tokens(self, key: str) -> list[str]:
            """Only those that are there: for ``%l`` this machine's own name is asked of the name service."""
            allowed = super()._allowed_tokens("match-exec" if key in _PATHS else key)  # type: ignore[misc]
            return [each for each in allowed if each != "~" and each in self._text]

    return Lookup


def _succeeds(command: str) -> bool:
    """Whether a command of ``Match exec`` exits with 0."""
    from paramiko.ssh_exception import ConfigParseError

    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=EXEC_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigParseError(f"Match exec {command!r} did not end within {EXEC_SECONDS:g} s") from error
    return done.returncode == 0
