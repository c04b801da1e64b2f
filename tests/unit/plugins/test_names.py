from __future__ import annotations

import ast

import pytest

from dlpx_remote.plugins.names import undefined_names
from dlpx_remote.plugins.problems import Problem, Problems


def warnings_of(code: str) -> list[Problem]:
    problems = Problems("src/kettle.py")
    undefined_names(ast.parse(code), problems)
    return problems.found


def test_a_name_that_nothing_defines_is_a_warning_with_its_line_and_the_nearest_one() -> None:
    (found,) = warnings_of("import json\n\n\ndef boil(water):\n    return json.dumps(watre)\n")

    assert (found.severity, found.file, found.line, found.place) == ("warning", "src/kettle.py", 5, "watre")
    assert "`watre` is used but never defined" in found.message
    assert found.hint == "Did you mean `water`?"


def test_with_nothing_near_the_hint_is_to_define_it() -> None:
    (found,) = warnings_of("def boil():\n    return unicode\n")

    assert found.hint == "Define or import it."


def test_all_of_them_are_found_in_the_order_of_lines() -> None:
    found = warnings_of("def a():\n    return x1\n\n\ndef b():\n    y2()\n\n\n__all__ = ['z3']\n")

    assert [(one.line, one.place) for one in found] == [(2, "x1"), (6, "y2"), (9, "z3")]


@pytest.mark.parametrize(
    "code",
    [
        "print(len([]), __file__, __name__)",
        "from somewhere import *\nboil()",
        "def a():\n    return later()\n\n\ndef later():\n    return 1\n",
        "try:\n    text = unicode\nexcept NameError:\n    text = str\n",
        "class Kettle:\n    size = 1\n\n    def boil(self):\n        return self.size, __class__\n",
        "import unused\n",
    ],
)
def test_what_is_defined_somehow_is_no_problem(code: str) -> None:
    assert warnings_of(code) == []
