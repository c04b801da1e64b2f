"""Rules, troubles, quotas and settings as JSON: for scenario files and for the control port.

Every key is the name of a field of the class that it fills. A key that is none, or a value of another type,
is an error which names it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .programs import Decoder, Reply, Rule
from .server import Settings
from .shells import Quotas
from .troubles import Trouble

T = TypeVar("T")


class BadScenario(Exception):
    """A scenario cannot be understood; the text names the place."""


@dataclass(frozen=True)
class Scenario:
    """What a scenario file says.

    Attributes:
        users: password by name.
        rules, troubles: in order.
        quotas, settings: of the host.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    quotas: Quotas = field(default_factory=Quotas)
    settings: Settings = field(default_factory=Settings)


def load(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        BadScenario: no such file, no JSON, or not understood.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadScenario(f"The scenario {path} cannot be read: {error}") from error
    record = _record(content, "the scenario", set(Scenario.__dataclass_fields__))
    users = _record(record.get("users", {}), "users", None)
    return Scenario(
        users={name: _text(password, f"the password of {name}") for name, password in users.items()},
        rules=tuple(rule(item) for item in _list(record.get("rules", []), "rules")),
        troubles=tuple(trouble(item) for item in _list(record.get("troubles", []), "troubles")),
        quotas=_fill(Quotas, record.get("quotas", {}), "quotas"),
        settings=_fill(Settings, record.get("settings", {}), "settings"),
    )


def rule(content: object) -> Rule:
    """A rule with a scripted reply: ``when``, ``times``, ``reads_stdin``, and the fields of a reply.

    ``stdout_base64`` and ``stderr_base64`` stand for bytes.
    """
    own = {"when", "times", "reads_stdin"}
    coded = {"stdout_base64": "stdout", "stderr_base64": "stderr"}
    record = _record(content, "a rule", own | set(Reply.__dataclass_fields__) | set(coded))
    if not isinstance(record.get("when"), str):
        raise BadScenario("A rule needs 'when', a regular expression.")
    values = {name: value for name, value in record.items() if name not in own | set(coded)}
    for name, target in coded.items():
        if name in record:
            try:
                values[target] = base64.b64decode(_text(record[name], name), validate=True)
            except binascii.Error as error:
                raise BadScenario(f"{name} of a rule is not base64: {error}") from error
    reply = _fill(Reply, values, "a rule")
    times, waits = record.get("times"), record.get("reads_stdin")
    if not (times is None or isinstance(times, int)) or not (waits is None or isinstance(waits, bool)):
        raise BadScenario("'times' of a rule is a number, 'reads_stdin' is true or false.")
    return Rule(record["when"], reply, times, waits)


def rule_record(pattern: str, reply: Reply, times: int | None, reads_stdin: bool | None) -> dict[str, Any]:
    """The same the other way."""
    record: dict[str, Any] = {"when": pattern, **dataclasses.asdict(reply)}
    for name in ("stdout", "stderr"):
        if isinstance(record[name], bytes):
            record[f"{name}_base64"] = base64.b64encode(record.pop(name)).decode()
    return {**record, "times": times, "reads_stdin": reads_stdin}


def trouble(content: object) -> Trouble:
    """A trouble: the fields of :class:`Trouble`."""
    return _fill(Trouble, content, "a trouble")


def decoder(place: str) -> Decoder:
    """A function from a Python file, given as ``FILE.py:FUNCTION``.

    Raises:
        BadScenario: no such file or function.
    """
    file, _, name = place.rpartition(":")
    specification = importlib.util.spec_from_file_location("winrm_decoder", file) if file else None
    if specification is None or specification.loader is None:
        raise BadScenario(f"A decoder is given as FILE.py:FUNCTION, not as {place!r}.")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        found: Decoder = getattr(module, name)
    except (OSError, AttributeError) as error:
        raise BadScenario(f"There is no decoder {place!r}: {error}") from error
    return found


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "str | bytes": (str, bytes),
    "tuple[str, ...]": (list,),
}


def _fill(kind: type[T], content: object, place: str) -> T:
    fields = {item.name: str(item.type) for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    record = _record(content, place, set(fields))
    for name, value in record.items():
        allowed = _KINDS[fields[name]]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise BadScenario(f"'{name}' of {place} must be of the type {fields[name]}, not {value!r}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise BadScenario(f"{place}: {error}") from error


def _record(content: object, place: str, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise BadScenario(f"{place} must be an object, not {content!r}.")
    unknown = set(content) - known if known is not None else set()
    if known is not None and unknown:
        raise BadScenario(f"{place} has no '{min(unknown)}'. It has: {', '.join(sorted(known))}.")
    return content


def _list(content: object, place: str) -> list[Any]:
    if not isinstance(content, list):
        raise BadScenario(f"{place} must be a list.")
    return content


def _text(content: object, place: str) -> str:
    if not isinstance(content, str):
        raise BadScenario(f"{place} must be text.")
    return content
