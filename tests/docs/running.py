"""Carries a page out, block after block, as ``rules.py`` says, and tells what is not as it stands."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.docs.given import needed, scripts
from tests.docs.machine import Machine
from tests.docs.markdown import ROOT, Block, blocks
from tests.docs.plugin_blocks import fragment_problems, is_fragment
from tests.docs.rules import MASKS

SHELL = frozenset({"", "sh", "console", "bash", "shell"})
DATA = frozenset({"json", "yaml", "ini", "sudoers", "mermaid"})
SQL = "sql"
_MARKS = frozenset({"not run", "given", "first", "file", "anew"})
_ENDS = re.compile(r"#.*\bends with (\d+)\s*$", re.MULTILINE)
_FOREVER = re.compile(r"#.*\buntil Ctrl-C\s*$", re.MULTILINE)
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_SEPARATOR = "\x1e"
_FOREVER_SECONDS = 2
_BESIDE = ("examples", "containers", "benchmarks", "docs", "tests", "dlpx_remote", "sdk")
_STATE = "/root/state"
_KEPT = "/var/cache/pages"
_PYTEST = "'-p no:hypothesispytest -p no:typeguard -p no:xdist -p no:timeout'"
"""Who has only what a page says to install has none of these, of which one takes a second."""
_KEEP = ("orders", "found")
"""What is given so often that it is kept, once made, and put back."""
# Processes that this page started end, its mounts go, and the directories that it may have filled are empty.
_CLEAN = f"""
for process in /proc/[0-9]*; do
    number=${{process#/proc/}}
    grep -qx "$number" /run/baseline || [ "$number" = $$ ] || [ "$number" = $PPID ] || kill -KILL "$number"
done 2>/dev/null
awk '$5 ~ "^/(srv|mnt|root/state)/|^/xfs" {{print $5}}' /proc/self/mountinfo | tac | while read -r place; do
    umount -l "$(printf %b "$place")"
done
# Detached by hand: the machine's end would leave them attached.
for image in /var/lib/*.img; do
    if [ -e "$image" ]; then
        losetup --noheadings --output NAME --associated "$image" | xargs --no-run-if-empty losetup --detach
    fi
done
find /srv /mnt -mindepth 1 -delete
rm -rf {_STATE} /home/*/.dlpx-files.conf ~oracle/reports ~oracle/uploads ~oracle/books ~oracle/orders
rm -rf /var/lib/*.img /xfs /exports /data /dev/sdb
"""
_MERMAID = re.compile(
    r"\s*(flowchart (LR|TD|TB)|stateDiagram-v2|direction \w+|%%.*|subgraph .*|end|classDef .*|class .*|"
    r"style .*|linkStyle .*|note .*|\[\*\] --> .*|"
    r"\w+(\(\[.*\]\)|\[.*\]|\(.*\)|\{.*\})?(\s*(-->|---|-\.->|-- .* -->|-\. .* \.->)(\|[^|]*\|)?\s*"
    r"\w+(\(\[.*\]\)|\[.*\]|\(.*\)|\{.*\})?)*(:::\w+)?( ?: .*)?)?"
)


@dataclass(frozen=True)
class Statement:
    """One command of a shell block.

    Attributes:
        text: as bash takes it.
        expected: its output, where the block has that; None where it has not.
        code: the exit code that is meant.
    """

    text: str
    expected: str | None
    code: int

    @property
    def runs_for_ever(self) -> bool:
        """It is ended after some seconds."""
        return _FOREVER.search(self.text) is not None


@dataclass
class Session:
    """A page that is being carried out.

    Attributes:
        name: of the page, for directories in the machine.
        done: what is given already.
        came: what blocks with output would be with what came, by the lines of their fences.
    """

    machine: Machine
    name: str
    done: set[str] = field(default_factory=set)
    came: dict[int, str] = field(default_factory=dict)

    @property
    def _directory(self) -> str:
        return f"/root/pages/{self.name}"

    def start(self) -> None:
        """Make the page's directory, in a machine where no page has been."""
        self.anew()
        links = "\n".join(f"ln -s {shlex.quote(str(ROOT / each))} ." for each in _BESIDE)
        self.machine.run(f"mkdir -p {self._directory}\ncd {self._directory}\n{links}")

    def anew(self) -> None:
        """Go on with an empty state, and without what runs, is mounted, or lies where data lie."""
        cleaned = self.machine.run(_CLEAN)
        if cleaned.code:
            raise NotAsItStands(f"the machine cannot be made clean:\n{cleaned.output}")
        self.done.clear()

    def given(self, names: str) -> None:
        """Make what is taken for granted."""
        wanted = [name.strip() for name in names.split(",")]
        if not self.done:
            self._put_back(wanted)
        for name, script in scripts(wanted, self.done):
            self._must(script, f"given: {names}")
            if name in _KEEP and self.done <= needed(name):
                self.machine.run(
                    f"mkdir -p {_KEPT}/{name}/srv\ncp -a {_STATE} {_KEPT}/{name}/state\n"
                    f"cp -a /srv/. {_KEPT}/{name}/srv"
                )

    def _put_back(self, wanted: list[str]) -> None:
        for name in _KEEP:
            if any(name in needed(one) for one in wanted):
                kept = f"{_KEPT}/{name}"
                put = f"cp -a {kept}/state {_STATE}; cp -a {kept}/srv/. /srv"
                if self.machine.run(f"[ -e {kept} ] || exit 1\n{put}").code == 0:
                    self.done |= needed(name)
                    return

    def hidden(self, script: str) -> None:
        """Run what is not shown."""
        self._must(script, "first")

    def write(self, path: str, text: str, more: bool) -> None:
        """Make a file in the page's directory, or append to it."""
        place = shlex.quote(path)
        self._must(
            f"mkdir -p \"$(dirname {place})\"\ncat {'>>' if more else '>'}{place} <<'THE-END-OF-IT'\n"
            f"{text}THE-END-OF-IT\n",
            f"file: {path}",
        )

    def statements(self, several: list[Statement]) -> list[tuple[int, str]]:
        """Exit code and output of each, up to the first that did not end as it should."""
        parts = [self._head()]
        for statement in several:
            text = statement.text
            if statement.runs_for_ever:
                text = f"timeout --preserve-status --signal=INT {_FOREVER_SECONDS} {text}"
            end = "THE-END-OF-THE-COMMAND"
            check = (
                "[ $code = 0 ] || [ $code = 130 ]"
                if statement.runs_for_ever
                else f"[ $code = {statement.code} ]"
            )
            parts.append(
                f"eval \"$(cat <<'{end}'\n{text}\n{end}\n)\" </dev/null\ncode=$?\n"
                f"printf '\\036%s\\036' $code\n{check} || exit 0\n"
            )
        parts.append(self._foot())
        said = self.machine.run("".join(parts), environment=self._environment()).output
        pieces = said.split(_SEPARATOR)
        ends = [(int(code), output) for output, code in zip(pieces[::2], pieces[1::2], strict=False)]
        return ends if len(pieces) > 1 or not several else [(-1, said)]

    def python(self, text: str) -> tuple[int, str]:
        """Exit code and output of a Python program."""
        script = f"{self._head()}python - <<'THE-END-OF-IT'\n{text}THE-END-OF-IT\n"
        ended = self.machine.run(script, environment=self._environment())
        return ended.code, ended.output

    def _environment(self) -> dict[str, str]:
        return {"DLPX_REMOTE_STATE": _STATE, "PYTEST_ADDOPTS": _PYTEST, "MYPY_CACHE_DIR": f"{_KEPT}/mypy"}

    def _head(self) -> str:
        place = f"{self._directory}/.session"
        return f"cd {self._directory}\nif [ -e {place} ]; then . {place}; fi\n" + "".join(
            f"export {name}={value}\n" for name, value in self._environment().items()
        )

    def _foot(self) -> str:
        place = f"{self._directory}/.session"
        return f"{{ export -p; printf 'cd %q\\n' \"$PWD\"; }} >{place}\n"

    def _must(self, script: str, what: str) -> None:
        done = self.machine.run(f"set -e\n{self._head()}{script}\n", environment=self._environment())
        if done.code:
            raise NotAsItStands(f"{what} ended with {done.code}:\n{done.output}")


class NotAsItStands(AssertionError):
    """A block does not do what its page says."""


def carry_out(machine: Machine, page: Path, *, write: bool = False) -> list[str]:
    """Carry out every block of ``page``; what is not as it stands, each with its place.

    Args:
        machine: where.
        page: the file.
        write: put what came into the blocks that have output.
    """
    session = Session(machine, str(page.relative_to(ROOT)).removesuffix(".md").replace("/", "-").lower())
    session.start()
    troubles = []
    try:
        for block in blocks(page):
            try:
                carry_out_block(session, block)
            except NotAsItStands as trouble:
                troubles.append(f"{block.place}: {trouble}")
    finally:
        session.anew()
    if write:
        _write(page, session.came)
    return troubles


def _write(page: Path, came: dict[int, str]) -> None:
    lines = page.read_text("utf-8").splitlines(keepends=True)
    for block in reversed(blocks(page)):
        if block.line in came:
            count = len(block.text.splitlines())
            lines[block.line : block.line + count] = [came[block.line]]
    page.write_text("".join(lines), "utf-8")


def carry_out_block(session: Session, block: Block, *, fetching: bool = False) -> None:
    """Carry out one block.

    Args:
        session: of its page.
        block: with its marks.
        fetching: do so even if it is marked as not run.

    Raises:
        NotAsItStands: says what is different.
    """
    for mark in block.marks:
        if mark.name == "anew":
            session.anew()
        elif mark.name == "given":
            session.given(mark.text)
        elif mark.name == "first":
            session.hidden(mark.text)
    problem = static_problem(block)
    if problem:
        raise NotAsItStands(problem)
    file = block.marked("file")
    if file is not None:
        path, _, more = file.partition(",")
        session.write(path.strip(), block.text, bool(more.strip()))
    elif block.marked("not run") is None or fetching:
        if block.language in SHELL:
            _shell(session, block)
        elif block.language == SQL:
            session.hidden(
                f"psql --host localhost --username postgres --set ON_ERROR_STOP=1 <<'END'\n{block.text}END"
            )
        elif block.language == "python" and not is_fragment(block.text):
            code, output = session.python(block.text)
            if code:
                raise NotAsItStands(f"the program ends with {code}:\n{output}")


def _shell(session: Session, block: Block) -> None:
    several = list(statements(block.text))
    ends = session.statements(several)
    if len(ends) == len(several) and any(statement.expected is not None for statement in several):
        said = (f"$ {each.text}\n{output}" for each, (_, output) in zip(several, ends, strict=False))
        session.came[block.line] = "".join(text if text.endswith("\n") else f"{text}\n" for text in said)
    for statement, (code, output) in zip(several, ends, strict=False):
        if code != statement.code and not (statement.runs_for_ever and code == 130):
            raise NotAsItStands(f"`{statement.text}` ends with {code}, not {statement.code}:\n{output}")
        if statement.expected is not None and not same(statement.expected, output):
            raise NotAsItStands(
                f"`{statement.text}` writes something else. The page has:\n{statement.expected}\n"
                f"What came:\n{output}"
            )
    if len(ends) < len(several):
        raise NotAsItStands(f"`{several[len(ends)].text}` was not reached: {ends[-1:]}")


def statements(text: str) -> Iterator[Statement]:
    """The commands of a shell block."""
    lines = text.splitlines()
    with_output = any(line.startswith("$ ") for line in lines)
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not with_output and (not line.strip() or line.lstrip().startswith("#")):
            continue
        command = line[2:] if with_output else line
        while number < len(lines) and not _complete(command):
            more = lines[number]
            command += "\n" + (more.removeprefix("> ") if with_output else more)
            number += 1
        expected = None
        if with_output:
            said = []
            while number < len(lines) and not lines[number].startswith("$ "):
                said.append(lines[number])
                number += 1
            expected = "\n".join(said)
        ends = _ENDS.search(command)
        yield Statement(command, expected, int(ends[1]) if ends else 0)


def _complete(command: str) -> bool:
    if command.rstrip(" ").endswith("\\"):
        return False
    here = _HERE.search(command)
    if here is not None:
        return here[2] in command.splitlines()[1:]
    if command.startswith("dlpx-remote ") and not re.search(r"['\"]", command):
        return True
    checked = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True, check=False)
    return checked.returncode == 0


def same(expected: str, output: str) -> bool:
    """Whether output is what the page has, but for what the masks take out."""
    wanted, came = (
        [line.strip() for line in masked(text).splitlines() if line.strip()] for text in (expected, output)
    )
    pattern = r"\n".join(r"(?:.*\n)*?.*" if line == "…" else re.escape(line) for line in wanted)
    return re.fullmatch(pattern, "\n".join(came)) is not None


def masked(text: str) -> str:
    """Text without times, sizes and the like."""
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


def static_problem(block: Block) -> str:
    """What is wrong with a block as a text, without running it; empty where nothing is."""
    unknown = sorted({mark.name for mark in block.marks} - _MARKS)
    if unknown:
        return f"there is no mark `{unknown[0]}`; there are {', '.join(sorted(_MARKS))}"
    if block.marked("not run") == "":
        return "a block that is not run says why"
    if block.language in SHELL:
        checked = subprocess.run(
            ["bash", "-n"],
            input="\n".join(each.text for each in statements(block.text)),
            text=True,
            capture_output=True,
            check=False,
        )
        return checked.stderr
    if block.language == "python":
        return _python_problem(block)
    if block.language == SQL:
        return ""
    if block.language in DATA:
        return _data_problem(block.language, block.text)
    if block.marked("not run") is None and block.marked("file") is None:
        return f"a block of `{block.language}` says why it is not run"
    return ""


def _python_problem(block: Block) -> str:
    try:
        compile(block.text, block.place, "exec")
    except SyntaxError as error:
        return f"this is no Python: {error}"
    if is_fragment(block.text) and block.marked("file") is None and block.marked("not run") is None:
        return "\n".join(fragment_problems(block.text))
    return ""


def _data_problem(language: str, text: str) -> str:
    try:
        if language == "json":
            json.loads(text)
        elif language == "yaml":
            list(yaml.safe_load_all(text))
        elif language == "ini":
            configparser.ConfigParser().read_string(text)
        elif language == "sudoers":
            checked = subprocess.run(
                ["visudo", "-c", "-f", "-"], input=text, text=True, capture_output=True, check=False
            )
            return checked.stderr if checked.returncode else ""
        else:
            wrong = [line for line in text.splitlines() if not _MERMAID.fullmatch(line)]
            return f"this is no Mermaid that is known here: {wrong[0]}" if wrong else ""
    except (ValueError, yaml.YAMLError, configparser.Error) as error:
        return f"this is no {language}: {error}"
    return ""
