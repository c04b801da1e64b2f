"""The pictures of the life cycle are those of the table of operations, as it is now."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from dlpx.virtualization.platform.operation_table import OPERATIONS
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "life-cycle.md"


@pytest.fixture(scope="module")
def drawing() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("pictures_of_the_docs", ROOT / "docs" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # its dataclasses look themselves up
        spec.loader.exec_module(module)
        yield module


def test_pictures_are_up_to_date(drawing: ModuleType) -> None:
    made = drawing.pictures()

    there = {file.name: file.read_text("utf-8") for file in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert there == made, "run `python docs/pictures.py`"


def test_every_operation_of_the_table_is_drawn_where_it_is_called(drawing: ModuleType) -> None:
    drawn = {step.text for _, _, steps in drawing.rows(PAGE.read_text("utf-8")) for step in steps}

    called = {
        operation.name
        for operation in OPERATIONS
        if any(title.startswith(("Linked", "Virtual")) for title in operation.engine_operations)
    }
    assert called - drawn == set()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("**virtual.unconfigure** → **virtual.cleanup**", "**virtual.unconfigure**"),
        ("`pre-stop` → **virtual.stop**", "`pre-stop` → **virtual.start**"),
    ],
)
def test_a_page_that_differs_from_the_table_is_not_drawn(drawing: ModuleType, right: str, wrong: str) -> None:
    page = PAGE.read_text("utf-8")
    assert right in page

    with pytest.raises(drawing.Different, match="the table of operations has"):
        list(drawing.rows(page.replace(right, wrong)))
