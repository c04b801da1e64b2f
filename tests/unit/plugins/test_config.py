from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlpx.virtualization.platform.operation_table import PluginType
from dlpx_remote.plugins.plugin import load_plugin, read_plugin
from dlpx_remote.plugins.problems import PluginInvalid, Problem
from tests.unit.plugins.on_disk import CONFIG, write_plugin

GOOD = """\
id: 7cf830f2-82f3-4d5d-a63c-7bbe50c22b32
name: Kettle
hostTypes: [UNIX]
entryPoint: kettle:plugin
srcDir: src
schemaFile: schema.json
pluginType: STAGED
language: PYTHON311
buildNumber: "1"
"""


def problems(directory: Path) -> list[Problem]:
    reading = read_plugin(directory)
    assert reading.plugin is None
    return [one for one in reading.problems if one.severity == "error"]


def only_problem(directory: Path) -> Problem:
    (problem,) = problems(directory)
    return problem


def test_a_good_config_is_read_with_its_defaults(tmp_path: Path) -> None:
    plugin = load_plugin(write_plugin(tmp_path / "p", config=GOOD))
    config = plugin.config
    assert (config.name, config.plugin_type, config.host_types) == ("Kettle", PluginType.STAGED, ("UNIX",))
    assert config.source_directory == tmp_path / "p" / "src"
    assert config.schema_file == tmp_path / "p" / "schema.json"
    assert (config.manual_discovery, config.root_squash_enabled, config.extended_start_stop_hooks) == (
        True,
        True,
        False,
    )
    assert (config.default_locale, config.lua_name, config.external_version) == ("en-us", None, "1")


def test_every_optional_key_is_read(tmp_path: Path) -> None:
    config = load_plugin(
        write_plugin(
            tmp_path,
            config={
                "externalVersion": "Kettle one",
                "manualDiscovery": False,
                "rootSquashEnabled": False,
                "defaultLocale": "de-de",
                "extendedStartStopHooks": True,
                "luaName": "kettle",
                "minimumLuaVersion": "2.3",
            },
        )
    ).config
    assert (config.external_version, config.default_locale) == ("Kettle one", "de-de")
    assert (config.manual_discovery, config.root_squash_enabled) == (False, False)
    assert config.extended_start_stop_hooks
    assert (config.lua_name, config.minimum_lua_version) == ("kettle", "2.3")


def test_the_config_file_itself_may_be_named(tmp_path: Path) -> None:
    assert load_plugin(write_plugin(tmp_path) / "plugin_config.yml").directory == tmp_path


@pytest.mark.parametrize("language", ["PYTHON27", "PYTHON38"])
def test_an_old_language_is_a_warning(tmp_path: Path, language: str) -> None:
    reading = read_plugin(write_plugin(tmp_path, config={"language": language}))
    assert reading.plugin is not None
    (problem,) = reading.problems
    assert (problem.severity, problem.file, problem.line) == ("warning", "plugin_config.yml", 9)
    assert "Python 3" in problem.message
    assert "PYTHON311" in problem.hint


@pytest.mark.parametrize("key", CONFIG)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    problem = only_problem(write_plugin(tmp_path, config={key: None}))
    assert problem.message == f"The key `{key}` is missing."


def test_an_unknown_key_is_shown_with_the_nearest_known_one(tmp_path: Path) -> None:
    problem = only_problem(write_plugin(tmp_path, config=GOOD.replace("entryPoint", "entrypoint")))
    assert (problem.file, problem.line, problem.place) == ("plugin_config.yml", 4, "entrypoint")
    assert problem.message == "The key `entrypoint` is unknown."
    assert problem.hint == "Did you mean `entryPoint`?"


def test_an_unknown_key_that_is_near_to_none_lists_what_is_possible(tmp_path: Path) -> None:
    problem = only_problem(write_plugin(tmp_path, config=GOOD + "colour: blue\n"))
    assert problem.line == 10
    assert "externalVersion" in problem.hint
    assert "buildNumber" not in problem.hint


WRONG: list[tuple[str, Any, str, str]] = [
    ("id", "kettle", "not a UUID", "uuid4"),
    ("name", " ", "is empty", ""),
    ("name", 7, "A string was expected, but found a number `7`", "quotes"),
    ("hostTypes", "UNIX", "A list was expected", "[UNIX]"),
    ("hostTypes", ["LINUX"], "`LINUX` was found; expected is UNIX or WINDOWS", ""),
    ("hostTypes", [["UNIX"]], "a list was found; expected is UNIX or WINDOWS", ""),
    ("hostTypes", [], "Exactly one host type", "[WINDOWS]"),
    ("hostTypes", ["UNIX", "WINDOWS"], "Exactly one host type", "[UNIX]"),
    ("entryPoint", "kettle", "not of the form `module:object`", "my_plugin:plugin"),
    (
        "entryPoint",
        "kettle.py:plugin",
        "module `kettle.py` of the entry point does not exist",
        "Leave `.py` out",
    ),
    ("entryPoint", "ketle:plugin", "module `ketle` of the entry point does not exist in `src`", "`kettle`"),
    ("srcDir", "source", "`source` does not exist; a directory was expected", "relative to"),
    ("srcDir", "schema.json", "`schema.json` is a file; a directory was expected", ""),
    ("srcDir", "..", "outside of the plugin's directory", "Move"),
    ("srcDir", "/tmp", "absolute path", "relative"),
    ("schemaFile", "shema.json", "`shema.json` does not exist; a file was expected", ""),
    ("schemaFile", "src", "`src` is a directory; a file was expected", ""),
    ("schemaFile", "a\0b", "no usable path", ""),
    ("pluginType", "direct", "`direct` was found; expected is DIRECT or STAGED", ""),
    ("language", "RUBY", "expected is PYTHON311", ""),
    ("manualDiscovery", "true", "A truth value was expected", "without quotes"),
    ("rootSquashEnabled", 1, "A truth value was expected", ""),
    ("buildNumber", "1.x", "`1.x` is not a build number", "`0.1.0`"),
    ("buildNumber", "0.0", "`0.0` is not a build number", ""),
    ("buildNumber", 1.0, "A string was expected", "in quotes"),
    ("defaultLocale", ["en-us"], "A string was expected, but found a list.", ""),
]


@pytest.mark.parametrize(("key", "value", "message", "hint"), WRONG)
def test_a_wrong_value_is_shown_with_what_was_expected(
    tmp_path: Path, key: str, value: Any, message: str, hint: str
) -> None:
    found = problems(write_plugin(tmp_path, config={key: value}))
    problem = found[0]
    assert problem.file == "plugin_config.yml"
    assert problem.line is not None
    assert problem.place.startswith(key)
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("given", "other"), [("luaName", "minimumLuaVersion"), ("minimumLuaVersion", "luaName")]
)
def test_the_two_lua_keys_come_together(tmp_path: Path, given: str, other: str) -> None:
    value = {"luaName": "kettle", "minimumLuaVersion": "1.2"}[given]
    problem = only_problem(write_plugin(tmp_path, config=GOOD + f'{given}: "{value}"\n'))
    assert (problem.line, problem.message) == (10, f"`{given}` was given without `{other}`.")


def test_a_key_without_a_value_is_a_problem(tmp_path: Path) -> None:
    problem = only_problem(write_plugin(tmp_path, config=GOOD + "externalVersion:\n"))
    assert "found nothing" in problem.message
    assert "remove the key" in problem.hint


def test_a_key_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    problem = only_problem(write_plugin(tmp_path, config=GOOD + "name: Pot\n"))
    assert (problem.line, problem.place) == (10, "name")
    assert "a second time; the first is on line 2" in problem.message


def test_all_problems_are_reported_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    config = """\
        id: no
        nam: Kettle
        hostTypes: [SOLARIS]
        entryPoint: kettle
        srcDir: src
        schemaFile: schema.json
        pluginType: INDIRECT
        language: PYTHON311
        buildNumber: one
        """
    found = problems(write_plugin(tmp_path, config=config))
    assert [problem.line for problem in found] == [1, 2, 3, 4, 7, 9]


def test_broken_yaml_is_shown_with_line_and_column(tmp_path: Path) -> None:
    problem = only_problem(write_plugin(tmp_path, config="id: 1\nname: [Kettle\nhostTypes: x\n"))
    assert (problem.file, problem.line) == ("plugin_config.yml", 3)
    assert "not valid YAML at column" in problem.message


@pytest.mark.parametrize(
    "text", ["a: \x07\n", "a: *b\n", "a: 1\n---\nb: 2\n", "a: !!python/name:os.system\n"]
)
def test_yaml_that_cannot_be_is_one_clear_problem(tmp_path: Path, text: str) -> None:
    assert "not valid YAML" in only_problem(write_plugin(tmp_path, config=text)).message


@pytest.mark.parametrize(("text", "found"), [("", "empty"), ("- a\n", "a list"), ("hello\n", "a string")])
def test_a_config_that_is_no_mapping_says_what_it_is(tmp_path: Path, text: str, found: str) -> None:
    problem = only_problem(write_plugin(tmp_path, config=text))
    assert f"the file is {found}" in problem.message
    assert "entryPoint" in problem.hint


def test_aliases_without_end_are_read_in_no_time(tmp_path: Path) -> None:
    bomb = "a: &a [1, 2]\n"
    for one, other in zip("bcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxy", strict=True):
        bomb += f"{one}: &{one} [*{other}, *{other}, *{other}, *{other}]\n"
    found = problems(write_plugin(tmp_path, config=bomb + "name: *z\n"))
    assert "A string was expected, but found a list." in [problem.message for problem in found]


def test_a_config_that_is_not_utf_8_names_the_line(tmp_path: Path) -> None:
    directory = write_plugin(tmp_path)
    (directory / "plugin_config.yml").write_bytes(b"id: a\nname: K\xe4ttle\n")
    problem = only_problem(directory)
    assert (problem.line, problem.message) == (2, "The file is not UTF-8 text.")


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    directory = write_plugin(tmp_path)
    (directory / "plugin_config.yml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_plugin(directory).config.name == "Kettle"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    problem = only_problem(tmp_path / "nowhere")
    assert problem.file == str(tmp_path / "nowhere")
    assert problem.message == "The directory does not exist."


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "this is a file" in only_problem(tmp_path / "file").message


def test_a_missing_config_names_what_is_there_instead(tmp_path: Path) -> None:
    (tmp_path / "plugin_config.yaml").write_text(GOOD)
    problem = only_problem(tmp_path)
    assert (problem.file, problem.message) == ("plugin_config.yml", "The file does not exist.")
    assert "Found plugin_config.yaml" in problem.hint


def test_a_source_directory_behind_a_link_out_of_the_plugin_is_refused(tmp_path: Path) -> None:
    directory = write_plugin(tmp_path / "p", config={"srcDir": "link"})
    (tmp_path / "elsewhere").mkdir()
    (directory / "link").symlink_to(tmp_path / "elsewhere")
    assert "outside of the plugin's directory" in only_problem(directory).message


def test_the_error_of_loading_lists_every_problem_and_what_to_do(tmp_path: Path) -> None:
    directory = write_plugin(tmp_path, config={"id": "x", "language": "PYTHON"})
    with pytest.raises(PluginInvalid) as raised:
        load_plugin(directory)
    text = str(raised.value)
    assert "2 errors" in text
    assert "plugin_config.yml:1: error: id:" in text
    assert f"dlpx-remote plugin check {directory}" in text
    assert len(raised.value.problems) == 2
