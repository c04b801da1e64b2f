"""Finding secrets behind references, and saying why there is none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dlpx_remote.environments.model import SecretReference
from dlpx_remote.environments.secrets import Secrets, SecretUnavailable
from dlpx_remote.redaction import MASK, redact

PURPOSE = "password of anna on db1"


def resolve(reference: SecretReference, **options: object) -> str:
    return Secrets(**options).resolve(reference, PURPOSE)  # type: ignore[arg-type]


def test_a_variable_gives_the_secret_and_the_redactor_knows_it() -> None:
    secret = resolve(SecretReference("env", "X"), environment={"X": "sesame-from-a-variable"})
    assert secret == "sesame-from-a-variable"
    assert redact("it is sesame-from-a-variable.") == f"it is {MASK}."


@pytest.mark.parametrize(("environment", "state"), [({}, "is not set"), ({"X": ""}, "is empty")])
def test_a_variable_that_is_missing_is_named(environment: dict[str, str], state: str) -> None:
    with pytest.raises(
        SecretUnavailable, match=f"password of anna on db1 .* variable X, which {state}"
    ) as caught:
        resolve(SecretReference("env", "X"), environment=environment)
    assert "export X" in caught.value.action


@pytest.mark.parametrize("content", ["secret-in-file", "secret-in-file\n", "secret-in-file\r\nmore\n"])
def test_a_file_gives_its_first_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_bytes(content.encode())
    warnings: list[str] = []
    assert resolve(SecretReference("file", str(file)), on_warning=warnings.append) == "secret-in-file"
    assert warnings == []


def test_spaces_belong_to_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text("  pass phrase  \n")
    assert resolve(SecretReference("file", str(file))) == "  pass phrase  "


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_warned_of_once(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text("secret-in-the-open")
    file.chmod(mode)
    warnings: list[str] = []
    secrets = Secrets(on_warning=warnings.append)
    for _ in range(2):
        assert secrets.resolve(SecretReference("file", str(file)), PURPOSE) == "secret-in-the-open"
    assert warnings == [f"The file {file} holds a secret and can be read by others: chmod 600 {file}"]


def test_files_without_a_secret_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="cannot be read: No such file") as caught:
        resolve(SecretReference("file", str(tmp_path / "none")))
    assert "chmod 600" in caught.value.action
    with pytest.raises(SecretUnavailable, match="cannot be read: Is a directory"):
        resolve(SecretReference("file", str(tmp_path)))
    empty = tmp_path / "empty"
    empty.write_text("\nsecond line\n")
    with pytest.raises(SecretUnavailable, match="whose first line is empty") as caught:
        resolve(SecretReference("file", str(empty)))
    assert "second line" not in str(caught.value)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\n")
    with pytest.raises(SecretUnavailable, match="not UTF-8"):
        resolve(SecretReference("file", str(binary)))


def test_a_home_is_found_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_text("secret-at-home")
    assert resolve(SecretReference("file", "~/secret")) == "secret-at-home"


def test_a_command_gives_its_first_line() -> None:
    assert resolve(SecretReference("command", "printf 'from-a-command\\nmore'")) == "from-a-command"


def test_a_command_is_run_without_a_shell(tmp_path: Path) -> None:
    command = f"echo quoted;touch {tmp_path / 'made'} $HOME"
    assert resolve(SecretReference("command", command)) == f"quoted;touch {tmp_path / 'made'} $HOME"
    assert not (tmp_path / "made").exists()


def test_commands_that_fail_are_explained_without_what_they_printed() -> None:
    with pytest.raises(SecretUnavailable, match="failed with exit code 3") as caught:
        resolve(
            SecretReference(
                "command", "sh -c 'printf lea; printf ked; printf lea >&2; printf ked >&2; exit 3'"
            )
        )
    assert "leaked" not in str(caught.value)
    assert "Run it by hand" in caught.value.action
    with pytest.raises(SecretUnavailable, match="printed nothing"):
        resolve(SecretReference("command", "true"))
    with pytest.raises(SecretUnavailable, match="cannot be started: No such file") as caught:
        resolve(SecretReference("command", "/no/such/program | cat"))
    assert "sh -c" in caught.value.action
    with pytest.raises(SecretUnavailable, match="quotes do not match"):
        resolve(SecretReference("command", "echo 'open"))


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    late = tmp_path / "late"
    command = f"sh -c 'sh -c \"sleep 5; touch {late}\" & sleep 60'"
    with pytest.raises(SecretUnavailable, match=r"did not end within 0\.3 seconds"):
        resolve(SecretReference("command", command), command_timeout=0.3)
    assert not late.exists()


def test_a_person_is_asked_once_for_each_purpose() -> None:
    questions: list[str] = []

    def prompt(question: str) -> str:
        questions.append(question)
        return f"typed {question}"

    secrets = Secrets(prompt)
    reference = SecretReference("prompt")
    for _ in range(2):
        assert secrets.resolve(reference, PURPOSE) == "typed Password of anna on db1"
    secrets.resolve(reference, "password of bob on db1")
    assert questions == ["Password of anna on db1", "Password of bob on db1"]


def test_many_threads_ask_a_person_once() -> None:
    questions: list[str] = []
    secrets = Secrets(lambda question: questions.append(question) or "typed-by-a-person")  # type: ignore[func-returns-value]
    threads = [
        threading.Thread(target=secrets.resolve, args=(SecretReference("prompt"), PURPOSE)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(questions) == 1


def test_nobody_to_ask_is_an_error_that_says_what_else_there_is() -> None:
    with pytest.raises(SecretUnavailable, match="nobody to ask") as caught:
        resolve(SecretReference("prompt"))
    assert "env:VARIABLE" in caught.value.action
    with pytest.raises(SecretUnavailable, match="No password of anna on db1 was given"):
        resolve(SecretReference("prompt"), prompt=lambda _question: "")
