"""Reading ``schema.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema

DEFINITIONS = (
    "repositoryDefinition",
    "sourceConfigDefinition",
    "linkedSourceDefinition",
    "virtualSourceDefinition",
    "snapshotDefinition",
    "snapshotParametersDefinition",
)


@dataclass(frozen=True)
class PluginSchema:
    definitions: Mapping[str, dict[str, Any]] = field(repr=False)

    def validate(self, definition: str, value: Any) -> list[str]:
        validator = jsonschema.Draft7Validator(
            self.definitions[definition], format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def identity(self, definition: str, value: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value.get(name) for name in self.definitions[definition]["identityFields"]}

    def name(self, definition: str, value: Mapping[str, Any]) -> str:
        field_name = self.definitions[definition]["nameField"]
        return str(value.get(field_name[0] if isinstance(field_name, list) else field_name))
