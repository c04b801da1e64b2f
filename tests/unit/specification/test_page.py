from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.specification import page

SECTION = """
## Summary

Operation | Decorator
--------- | ---------
x | `discovery.repository()`

## Thing Discovery

Finds things.

### Decorator

`discovery.repository()`

### Example

```python
from generated.defintions import RepositoryDefinition
```

> The above command assumes a [Repository Schema](Schemas.md#repository) defined as:

```json
{"type": "object"}
```

## Thing Status

### Decorator

`virtual.status()`

###Examples
```python
plugin = Plugin()
```
"""


def test_examples_are_found_with_the_schema_beside_them() -> None:
    first, second = page.examples_of(SECTION)
    assert (first.title, first.operation) == ("Thing Discovery", "discovery.repository")
    assert first.code == "from generated.defintions import RepositoryDefinition\n"
    assert first.schemas == {"repositoryDefinition": {"type": "object"}}
    assert (second.operation, second.code, second.schemas) == ("virtual.status", "plugin = Plugin()\n", {})


@pytest.mark.parametrize("lost", ["```python\nplugin", "assumes a [Repository Schema]", "`virtual.status()`"])
def test_a_section_that_cannot_be_taken_apart_is_an_error(lost: str) -> None:
    with pytest.raises(ValueError, match=r"has \d examples and \d schemas"):
        page.examples_of(SECTION.replace(lost, ""))


def test_the_environment_names_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(page.VARIABLE, str(tmp_path / "missing.md"))
    assert page.specification_page() == tmp_path / "missing.md"


def test_without_the_environment_the_page_is_looked_for_beside_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(page.VARIABLE, raising=False)
    monkeypatch.setattr(page, "BESIDE_THE_CHECKOUT", tmp_path / "plugin-operations.md")
    assert page.specification_page() is None
    (tmp_path / "plugin-operations.md").write_text(SECTION)
    assert page.specification_page() == tmp_path / "plugin-operations.md"


def test_a_run_without_the_page_says_that_its_examples_did_not_run(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, pytest\n"
        "from tests.unit.specification import page\n"
        "page.BESIDE_THE_CHECKOUT = pathlib.Path(sys.argv[1])\n"
        "options = ['--collect-only', '-q', '-p', 'no:cacheprovider']\n"
        "sys.exit(pytest.main([*options, 'tests/unit/specification']))"
    )
    environment = {name: value for name, value in os.environ.items() if name != page.VARIABLE}
    command = [sys.executable, "-c", script, str(tmp_path / "nowhere.md")]
    run = subprocess.run(
        command, cwd=page.CHECKOUT, env=environment, capture_output=True, text=True, check=True
    )
    assert "test_page.py" in run.stdout
    assert "test_examples_of_the_page.py" not in run.stdout
    assert "did NOT run" in run.stdout
    assert "nowhere.md" in run.stdout
    assert page.VARIABLE in run.stdout
