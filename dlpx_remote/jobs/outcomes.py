"""What a step gave back or raised, as JSON, so that a job that is taken over gets the same again.

Errors of the engine's tree come back as what they were, with the attributes that JSON can hold, so that a
workflow that tells one error from another goes the same way the second time.
"""

from __future__ import annotations

import base64
import importlib
import json
from dataclasses import dataclass
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import StepDefect
from dlpx_remote.redaction import MASK, redact

_OWN = "dlpx_remote."


@dataclass(frozen=True)
class Outcome:
    """How a step ended: with a value, an error, or a word of the journal's own.

    Attributes:
        title: the step's.
        value: what it gave back.
        error: what it raised.
        special: ``cancelled`` (never begun), ``interrupted`` (begun, and nobody knows how far it came) or
            ``changed`` (the workflow is another one than that which was begun).
    """

    title: str
    value: Any = None
    error: RemoteError | None = None
    special: str | None = None

    def to_json(self) -> str:
        """As text for the journal."""
        kept: dict[str, Any] = {"title": redact(self.title)}
        if self.error is not None:
            kept["error"] = _error_to_json(self.error)
        elif self.special is not None:
            kept["special"] = self.special
        else:
            kept["value"] = self.value
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Outcome:
        """From the journal."""
        kept = json.loads(text)
        error = _error_from_json(kept["error"]) if "error" in kept else None
        return Outcome(kept["title"], kept.get("value"), error, kept.get("special"))


def same_title(one: str, other: str) -> bool:
    """Whether two titles are of one step; what is masked in one of them is not compared."""
    return one == other or MASK in one or MASK in other


def check_value(title: str, value: Any) -> Any:
    """``value`` as it will come back from the journal.

    Raises:
        StepDefect: it is not plain JSON.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StepDefect(f"The step {title!r} gave back what is not plain JSON: {error}.") from error


def as_remote_error(title: str, error: Exception) -> RemoteError:
    """``error`` as one of the engine's tree."""
    if isinstance(error, RemoteError):
        return error
    defect = StepDefect(
        redact(f"The step {title!r} ended with an unexpected {type(error).__name__}: {error}"),
        "This is a defect of dlpx-remote, not of your input; report it with the job's output.",
    )
    defect.__cause__ = error
    return defect


def _error_to_json(error: RemoteError) -> dict[str, Any]:
    kind = type(error)
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "message": redact(error.message),
        "action": redact(error.action),
        "output": redact(error.output),
        "more": {
            name: plain
            for name, value in vars(error).items()
            if name not in ("message", "action", "output") and (plain := _plain(value)) is not _NOT_PLAIN
        },
    }


def _error_from_json(kept: dict[str, Any]) -> RemoteError:
    kind = _class_named(kept["class"])
    error = kind.__new__(kind)
    Exception.__init__(error, kept["message"])
    for name, value in kept["more"].items():
        setattr(error, name, _from_plain(value))
    error.message, error.action, error.output = kept["message"], kept["action"], kept["output"]
    return error


def _class_named(name: str) -> type[RemoteError]:
    """The class of that name; the tree's root where this version of dlpx-remote has none."""
    module, _, path = name.partition(":")
    if not module.startswith(_OWN):
        return RemoteError
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return RemoteError
    return found if isinstance(found, type) and issubclass(found, RemoteError) else RemoteError


_NOT_PLAIN = object()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        text = redact(value.decode("utf-8", "surrogateescape"))
        return {"bytes": base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")}
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return _NOT_PLAIN


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["bytes"])
    return value
