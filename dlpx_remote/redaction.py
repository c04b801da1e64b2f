"""One redactor for everything that prints: errors, logs, events and the command line.

Secrets are registered when they are resolved and stay registered for the life of the process; variables of a
command are registered for the duration of that command and the errors made from it. This module knows nothing
of the rest of the engine.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MASK = "********"
_MINIMUM_VARIABLE = 4


class Redactor:
    """Replaces known secrets in text by :data:`MASK`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[str, int] = {}
        self._ordered: tuple[str, ...] = ()

    def register(self, secret: str | bytes) -> None:
        """Mask ``secret``, and each line of a secret of several lines, from now on."""
        self._add(_forms(secret, minimum=1))

    @contextmanager
    def variables(self, values: Iterable[str | bytes]) -> Iterator[None]:
        """Mask ``values`` inside the ``with`` block.

        Values shorter than four characters are left alone: masking every ``1`` would make messages unreadable
        and hide nothing.
        """
        forms = [form for value in values for form in _forms(value, minimum=_MINIMUM_VARIABLE)]
        self._add(forms)
        try:
            yield
        finally:
            self._remove(forms)

    def redact(self, text: str) -> str:
        """``text`` with every known secret masked."""
        for secret in self._ordered:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def _add(self, forms: Iterable[str]) -> None:
        with self._lock:
            for form in forms:
                self._secrets[form] = self._secrets.get(form, 0) + 1
            self._reorder()

    def _remove(self, forms: Iterable[str]) -> None:
        with self._lock:
            for form in forms:
                left = self._secrets.get(form, 0) - 1
                if left > 0:
                    self._secrets[form] = left
                else:
                    self._secrets.pop(form, None)
            self._reorder()

    def _reorder(self) -> None:
        self._ordered = tuple(sorted(self._secrets, key=len, reverse=True))


def _forms(secret: str | bytes, minimum: int) -> list[str]:
    text = secret.decode("utf-8", "replace") if isinstance(secret, bytes) else secret
    lines = [line.strip() for line in text.splitlines()] if "\n" in text else []
    return [form for form in {text, text.strip(), *lines} if len(form) >= minimum and form.strip("-= ")]


REDACTOR = Redactor()


def redact(text: str) -> str:
    """``text`` with every secret known to this process masked."""
    return REDACTOR.redact(text)


class RedactingFilter(logging.Filter):
    """A filter for logging handlers: no record leaves with a secret in it, traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always lets it through."""
        record.msg = redact(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
