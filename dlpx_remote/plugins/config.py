"""``plugin_config.yml``: what a plugin says of itself.

Everything wrong with the file is found in one reading, each problem with its line. The plugin's code is not
looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlpx.virtualization.platform.operation_table import PluginType
from dlpx_remote.plugins.documents import Document, parse_yaml, place_of, read_text
from dlpx_remote.plugins.problems import Problems, did_you_mean

CONFIG_FILE = "plugin_config.yml"
LANGUAGE = "PYTHON311"
_OLD_LANGUAGES = ("PYTHON27", "PYTHON38")
_HOST_TYPES = ("UNIX", "WINDOWS")
_BUILD_NUMBER = re.compile(r"([0-9]+\.)*[0-9]*[1-9][0-9]*(\.[0-9]+)*")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class PluginConfig:
    """What ``plugin_config.yml`` says, with defaults filled in.

    Attributes:
        id: a UUID.
        name: for people.
        plugin_type: direct or staged linking.
        host_types: ``UNIX`` or ``WINDOWS``.
        entry_point: ``module:object``, the module relative to the source directory.
        source_directory: absolute; inside the plugin's directory.
        schema_file: absolute; inside the plugin's directory.
        build_number: numbers with dots between.
        language: as given; the code runs under the engine's own Python whatever it says.
        external_version: for people; the build number when not given.
        manual_discovery: a person may add source configs.
        root_squash_enabled: mounts map the remote root away.
        default_locale: of the plugin's messages.
        extended_start_stop_hooks: start and stop hooks run on enable and disable too.
        lua_name: the older toolkit that this plugin replaces.
        minimum_lua_version: the least version of it that can be upgraded.
    """

    id: str
    name: str
    plugin_type: PluginType
    host_types: tuple[str, ...]
    entry_point: str
    source_directory: Path
    schema_file: Path
    build_number: str
    language: str
    external_version: str = ""
    manual_discovery: bool = True
    root_squash_enabled: bool = True
    default_locale: str = "en-us"
    extended_start_stop_hooks: bool = False
    lua_name: str | None = None
    minimum_lua_version: str | None = None


@dataclass(frozen=True)
class ReadConfig:
    """What a reading found; with errors in the file, the parts that are good all the same.

    Attributes:
        config: None when there are errors.
        source_directory: None when it is not known or does not exist.
        schema_file: the same.
        entry_point: None when it is not known or has a wrong form.
        plugin_type: None when it is not known.
    """

    config: PluginConfig | None = None
    source_directory: Path | None = None
    schema_file: Path | None = None
    entry_point: str | None = None
    plugin_type: PluginType | None = None


def read_config(directory: Path, problems: Problems) -> ReadConfig:
    """The configuration of the plugin in ``directory``.

    Args:
        directory: the plugin's directory, absolute.
        problems: takes everything that is wrong.
    """
    others = sorted(path.name for path in directory.glob("*.y*ml")) if directory.is_dir() else []
    text = read_text(
        directory / CONFIG_FILE,
        problems,
        f"Found {', '.join(others)}: the name must be {CONFIG_FILE}."
        if others
        else "Every plugin has it at the top of its directory.",
    )
    document = None if text is None else parse_yaml(text, problems)
    if document is None:
        return ReadConfig()
    if not isinstance(document.value, dict):
        found = "empty" if document.value is None else f"a {_kind(document.value)}"
        problems.error(
            f"Keys and values were expected, but the file is {found}.",
            f"It starts with `id:`, `name:` and so on; needed are {', '.join(_required())}.",
            line=1,
        )
        return ReadConfig()
    return _Reading(directory, document, problems).read()


def _required() -> list[str]:
    return [name for name, key in _KEYS.items() if key.required]


@dataclass(frozen=True)
class _Key:
    """One key of the file: its type, a check that says what is wrong with such a value, and a hint."""

    kind: type
    required: bool = False
    wrong: Callable[[Any], str] = lambda _: ""
    hint: str = ""


def _matches(pattern: re.Pattern[str], expected: str) -> Callable[[str], str]:
    return lambda value: "" if pattern.fullmatch(value) else f"`{value}` is not {expected}."


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    return lambda value: "" if value in names else f"`{value}` was found; expected is {' or '.join(names)}."


def _not_blank(value: str) -> str:
    return "" if value.strip() else "is empty."


_KEYS: dict[str, _Key] = {
    "id": _Key(
        str,
        True,
        _matches(_UUID, "a UUID"),
        "Make one with `python3 -c 'import uuid; print(uuid.uuid4())'` and keep it for the plugin's life.",
    ),
    "name": _Key(str, True, _not_blank),
    "externalVersion": _Key(str),
    "hostTypes": _Key(list, True),
    "entryPoint": _Key(
        str,
        True,
        _matches(re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*"), "of the form `module:object`"),
        "For `plugin = Plugin()` in my_plugin.py it is `my_plugin:plugin`.",
    ),
    "srcDir": _Key(str, True, _not_blank),
    "schemaFile": _Key(str, True, _not_blank),
    "manualDiscovery": _Key(bool),
    "pluginType": _Key(str, True, _one_of(tuple(kind.value for kind in PluginType))),
    "language": _Key(str, True, _one_of((LANGUAGE, *_OLD_LANGUAGES))),
    "defaultLocale": _Key(str, False, _not_blank),
    "rootSquashEnabled": _Key(bool),
    "buildNumber": _Key(
        str,
        True,
        _matches(_BUILD_NUMBER, "a build number"),
        "Numbers with dots between, not all zero: `1`, `0.1.0`.",
    ),
    "luaName": _Key(str, False, _matches(re.compile(r"[a-z0-9_:-]+"), "a name of a-z, 0-9, `_`, `:`, `-`")),
    "extendedStartStopHooks": _Key(bool),
    "minimumLuaVersion": _Key(
        str, False, _matches(re.compile(r"[0-9]+\.[0-9]+"), "of the form `number.number`")
    ),
}


class _Reading:
    """One reading of the file."""

    def __init__(self, directory: Path, document: Document, problems: Problems) -> None:
        self._directory = directory
        self._document = document
        self._values: dict[Any, Any] = document.value
        self._problems = problems
        self._good: dict[str, Any] = {}

    def read(self) -> ReadConfig:
        unknown_for = self._unknown_keys()
        for name, key in _KEYS.items():
            if name in self._values:
                self._check(name, key, self._values[name])
            elif key.required and name not in unknown_for:
                self._problems.error(f"The key `{name}` is missing.", key.hint, place=name)
        self._host_types()
        self._language()
        self._lua()
        source = self._inside("srcDir", directory=True)
        schema = self._inside("schemaFile", directory=False)
        self._entry_point(source)
        plugin_type = self._good.get("pluginType")
        return ReadConfig(
            self._config(source, schema) if source and schema and not self._problems.failed else None,
            source,
            schema,
            self._good.get("entryPoint"),
            None if plugin_type is None else PluginType(plugin_type),
        )

    def _config(self, source: Path, schema: Path) -> PluginConfig:
        good = self._good
        return PluginConfig(
            id=good["id"],
            name=good["name"],
            plugin_type=PluginType(good["pluginType"]),
            host_types=tuple(good["hostTypes"]),
            entry_point=good["entryPoint"],
            source_directory=source,
            schema_file=schema,
            build_number=good["buildNumber"],
            language=good["language"],
            external_version=good.get("externalVersion") or good["buildNumber"],
            manual_discovery=good.get("manualDiscovery", True),
            root_squash_enabled=good.get("rootSquashEnabled", True),
            default_locale=good.get("defaultLocale", "en-us"),
            extended_start_stop_hooks=good.get("extendedStartStopHooks", False),
            lua_name=good.get("luaName"),
            minimum_lua_version=good.get("minimumLuaVersion"),
        )

    def _error(self, message: str, hint: str, *path: str | int) -> None:
        self._problems.error(message, hint, line=self._document.line(path), place=place_of(path))

    def _unknown_keys(self) -> set[str]:
        """Report them; returns the keys that they probably stand for."""
        missing = [name for name in _KEYS if name not in self._values]
        meant = set()
        for name in self._values:
            if name in _KEYS:
                continue
            # A key that is there already cannot be what was meant.
            hint = did_you_mean(str(name), missing)
            meant |= {key for key in missing if hint == f"Did you mean `{key}`?"}
            self._error(f"The key `{name}` is unknown.", hint, str(name))
        return meant

    def _check(self, name: str, key: _Key, value: Any) -> None:
        if type(value) is not key.kind:
            found = "nothing" if value is None else _described(value)
            self._error(
                f"A {_NAMES[key.kind]} was expected, but found {found}.", _type_hint(key, value), name
            )
            return
        wrong = key.wrong(value)
        if wrong:
            self._error(f"The key `{name}` {wrong}" if wrong == "is empty." else wrong, key.hint, name)
            return
        self._good[name] = value

    def _host_types(self) -> None:
        values = self._good.get("hostTypes")
        if values is None:
            return
        for index, value in enumerate(values):
            if value not in _HOST_TYPES:
                found = f"`{value}`" if isinstance(value, str) else _described(value)
                self._error(f"{found} was found; expected is UNIX or WINDOWS.", "", "hostTypes", index)
        if len(values) != 1:
            self._error(
                f"Exactly one host type was expected, but found {len(values)}.",
                "Write `hostTypes: [UNIX]` or `hostTypes: [WINDOWS]`.",
                "hostTypes",
            )

    def _language(self) -> None:
        language = self._good.get("language")
        if language in _OLD_LANGUAGES:
            self._problems.warning(
                f"`{language}` is out of date: the code runs under Python 3 as it is installed here.",
                f"When it does, say `language: {LANGUAGE}`.",
                line=self._document.line(("language",)),
                place="language",
            )

    def _lua(self) -> None:
        for given, other in (("luaName", "minimumLuaVersion"), ("minimumLuaVersion", "luaName")):
            if given in self._values and other not in self._values:
                self._error(f"`{given}` was given without `{other}`.", "Give both or neither.", given)

    def _inside(self, name: str, directory: bool) -> Path | None:
        """The path that the key ``name`` gives, when it exists as what it should be inside the plugin."""
        value = self._good.get(name)
        if value is None:
            return None
        root = self._directory.resolve()
        if Path(value).is_absolute():
            self._error(f"`{value}` is an absolute path.", f"Give it relative to {CONFIG_FILE}.", name)
            return None
        try:
            path: Path = (root / value).resolve()
            is_directory, is_file = path.is_dir(), path.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            self._error(f"`{value}` is no usable path: {error}.", "", name)
            return None
        what = "directory" if directory else "file"
        if not path.is_relative_to(root):
            self._error(
                f"`{value}` lies outside of the plugin's directory.",
                f"Move the {what} into the plugin.",
                name,
            )
        elif not (is_directory if directory else is_file):
            found = "is a directory" if is_directory else "is a file" if is_file else "does not exist"
            self._error(
                f"`{value}` {found}; a {what} was expected.",
                f"The path is relative to {CONFIG_FILE}.",
                name,
            )
        else:
            return path
        return None

    def _entry_point(self, source: Path | None) -> None:
        entry = self._good.get("entryPoint")
        if entry is None or source is None:
            return
        module = entry.partition(":")[0]
        path = source.joinpath(*module.split("."))
        if path.with_name(f"{path.name}.py").is_file() or path.is_dir():
            return
        names = sorted(one.stem for one in path.parent.glob("*.py")) if path.parent.is_dir() else []
        if path.name == "py":
            hint = "Leave `.py` out: the module is named, not the file."
        else:
            hint = did_you_mean(path.name, names) if names else "The directory holds no Python file."
        self._error(
            f"The module `{module}` of the entry point does not exist in `{self._good['srcDir']}`.",
            hint,
            "entryPoint",
        )


_NAMES: dict[type, str] = {str: "string", list: "list", bool: "truth value"}


def _kind(value: Any) -> str:
    names = {
        bool: "truth value",
        int: "number",
        float: "number",
        str: "string",
        list: "list",
        dict: "mapping",
    }
    return names.get(type(value), type(value).__name__)


def _described(value: Any) -> str:
    # Lists and mappings are not shown: aliases can make them endless.
    shown = f" `{value}`" if isinstance(value, (str, int, float)) else ""
    return f"a {_kind(value)}{shown}"


def _type_hint(key: _Key, value: Any) -> str:
    if value is None:
        return "Give it a value, or remove the key if it is optional."
    if key.kind is str and isinstance(value, (int, float)):
        return "Put the value in quotes."
    if key.kind is bool:
        return "Write true or false, without quotes."
    if key.kind is list and isinstance(value, str):
        return f"Write [{value}]."
    return ""
