from __future__ import annotations

from pathlib import Path

from dlpx.virtualization.platform.operation_table import OPERATIONS
from dlpx.virtualization.platform.reference import page

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def test_the_page_on_disk_is_the_one_the_table_makes() -> None:
    remedy = "run `python -m dlpx.virtualization.platform.reference > docs/operations.md`"
    assert PAGE.read_text(encoding="utf-8") == page(), f"docs/operations.md is stale: {remedy}"


def test_the_page_has_every_operation_with_its_decorator_and_arguments() -> None:
    text = page()
    for operation in OPERATIONS:
        assert f"## {operation.title}\n" in text
        assert f"@plugin.{operation.name}(" in text
        for argument in operation.arguments:
            for name in argument.names:
                assert f"`{name}`" in text
