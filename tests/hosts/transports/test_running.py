"""What a script gets, what it gives back, and what cannot be seen of it from outside."""

from __future__ import annotations

import os
import string
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlpx_remote.transports.base import InvalidCommand, StreamName
from dlpx_remote.transports.ssh import SshConnection
from tests.hosts.sshd import Sshd
from tests.secret_scan import secret

_FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class TestOutput:
    def test_both_streams_and_the_exit_code_come_back(self, connection: SshConnection) -> None:
        result = connection.run("echo out; echo err >&2; exit 7")
        assert (result.exit_code, result.stdout, result.stderr, result.signal) == (
            7,
            b"out\n",
            b"err\n",
            None,
        )

    def test_output_is_bytes_as_they_came(self, connection: SshConnection) -> None:
        everything = bytes(range(256)) * 3
        result = connection.run(
            'for code in {0..255}; do printf "\\\\x$(printf %x $code)"; done > /tmp/$$; '
            "cat /tmp/$$ /tmp/$$ /tmp/$$; cat /tmp/$$ /tmp/$$ /tmp/$$ >&2; rm /tmp/$$"
        )
        assert result.stdout == everything
        assert result.stderr == everything
        assert "�" in result.stdout_text

    def test_no_end_of_line_is_added_or_taken(self, connection: SshConnection) -> None:
        assert connection.run("printf x").stdout == b"x"
        assert connection.run("printf 'x\\n\\n'").stdout == b"x\n\n"
        assert connection.run("").stdout == b""

    def test_a_hundred_megabytes_on_both_streams_come_whole(self, connection: SshConnection) -> None:
        size = 50 * 1024 * 1024
        result = connection.run(
            f"head -c {size} /dev/zero & head -c {size} /dev/zero | tr '\\0' x >&2; wait; echo end"
        )
        assert len(result.stdout) == size + 4
        assert result.stdout.endswith(b"end\n")
        assert result.stderr.count(b"x") == size

    def test_much_on_one_stream_only_does_not_block(self, connection: SshConnection) -> None:
        size = 8 * 1024 * 1024
        assert len(connection.run(f"head -c {size} /dev/zero >&2").stderr) == size

    def test_output_is_handed_over_while_the_script_runs(self, connection: SshConnection) -> None:
        came: list[tuple[StreamName, bytes]] = []
        went = threading.Event()

        def take(stream: StreamName, data: bytes) -> None:
            came.append((stream, data))
            went.set()

        thread = threading.Thread(
            target=lambda: connection.run("echo first; sleep 2; echo second >&2", on_output=take)
        )
        thread.start()
        assert went.wait(20)
        assert came == [("stdout", b"first\n")]
        thread.join()
        assert came == [("stdout", b"first\n"), ("stderr", b"second\n")]

    def test_death_by_a_signal_is_told(self, connection: SshConnection) -> None:
        result = connection.run("kill -KILL $$")
        assert (result.exit_code, result.signal) == (137, "KILL")
        assert result.stderr == b""

    def test_a_syntax_error_is_the_script_s_own_failure(self, connection: SshConnection) -> None:
        result = connection.run("echo before\nif\n")
        assert result.stdout == b"before\n"
        assert result.exit_code != 0
        assert "syntax error" in result.stderr_text

    def test_a_background_child_that_holds_the_streams_does_not_hold_the_call(
        self, connection: SshConnection
    ) -> None:
        began = time.monotonic()
        result = connection.run("sleep 30 & echo $!")
        assert result.exit_code == 0
        assert time.monotonic() - began < 25
        os.kill(int(result.stdout), 9)

    def test_streams_that_the_script_closes_are_just_empty(self, connection: SshConnection) -> None:
        assert connection.run("exec >&- 2>&-; exit 3").exit_code == 3


class TestScripts:
    @pytest.mark.parametrize("filler", ["x=1; y='some text to fill the line'\n", "# a comment line\n"])
    def test_a_script_of_five_megabytes_runs(self, filler: str, connection: SshConnection) -> None:
        script = filler * (5_000_000 // len(filler)) + "echo done\n"
        assert connection.run(script).stdout == b"done\n"

    def test_carriage_returns_of_another_system_do_no_harm(self, connection: SshConnection) -> None:
        result = connection.run("#!/bin/bash\r\nif true; then\r\n  echo yes\r\nfi\r\n")
        assert (result.exit_code, result.stdout) == (0, b"yes\n")

    @_FEW
    @given(data=st.binary(max_size=300).map(lambda data: data.replace(b"\0", b"").replace(b"\r", b"")))
    def test_any_bytes_of_a_script_arrive(self, data: bytes, connection: SshConnection) -> None:
        word = b"'" + data.replace(b"'", b"'\\''") + b"'"
        assert connection.run(b"printf %s " + word).stdout == data

    def test_the_script_s_input_is_empty(self, connection: SshConnection) -> None:
        assert connection.run("cat; readlink /proc/self/fd/0").stdout == b"/dev/null\n"

    def test_line_numbers_are_the_script_s(self, connection: SshConnection) -> None:
        result = connection.run("#!/bin/bash\necho $LINENO\n\necho $LINENO")
        assert result.stdout == b"2\n4\n"

    def test_a_trailing_backslash_or_open_here_document_swallows_nothing_of_ours(
        self, connection: SshConnection
    ) -> None:
        assert connection.run("echo a\\\n").stdout == b"a\n"
        assert connection.run("cat <<END\ntext").stdout.rstrip(b"\n") == b"text"

    def test_it_runs_in_the_home_directory_with_a_utf_8_locale(
        self, sshd: Sshd, connection: SshConnection
    ) -> None:
        result = connection.run('pwd; echo "${#WORD}"', variables={"WORD": "é"})
        assert result.stdout_text == f"{sshd.home}\n1\n"

    def test_each_script_has_a_fresh_shell(self, connection: SshConnection) -> None:
        connection.run("x=1; export y=2; f() { :; }; trap 'echo trap' EXIT; set -u; cd /; ulimit -n 50")
        result = connection.run("echo $x$y; type f 2>/dev/null; trap; echo $-; pwd; ulimit -n")
        assert b"trap" not in result.stdout
        assert result.stdout.startswith(b"\nh")
        assert result.stdout.splitlines()[-2:] != [b"/", b"50"]

    def test_each_script_has_a_session_and_process_group_of_its_own(self, connection: SshConnection) -> None:
        ask = "read -r -a stat < /proc/$$/stat; echo $$ ${stat[4]} ${stat[5]}"
        first, second = (connection.run(ask).stdout.split() for _ in range(2))
        assert len(set(first)) == 1
        assert len(set(second)) == 1
        assert first != second

    def test_nothing_of_the_start_leaks_into_the_script(self, connection: SshConnection) -> None:
        result = connection.run("set; env; ls /proc/$$/fd; echo; trap; alias; declare -F")
        for word in (b"_dlpx", b"BASH_EXECUTION_STRING", b"OLDPWD=/"):
            assert word not in result.stdout
        descriptors = connection.run("ls /proc/$$/fd").stdout.split()
        assert {int(fd) for fd in descriptors} <= {0, 1, 2, 255}
        assert connection.run("echo $0 $# $-").stdout == b"bash 0 hBc\n"

    def test_an_interrupt_can_be_caught(self, connection: SshConnection) -> None:
        assert connection.run("trap 'echo caught' INT; kill -INT $$").stdout == b"caught\n"

    def test_a_login_shell_is_one(self, connection: SshConnection) -> None:
        ask = "shopt -q login_shell && echo login"
        assert connection.run(ask).stdout == b""
        assert connection.run(ask, login_shell=True).stdout == b"login\n"

    def test_variables_win_over_what_a_login_shell_sets(self, connection: SshConnection) -> None:
        result = connection.run("echo $PATH", login_shell=True, variables={"PATH": "/mine"})
        assert result.stdout == b"/mine\n"


class TestVariables:
    @_FEW
    @given(value=st.binary(max_size=400).map(lambda data: data.replace(b"\0", b"")))
    def test_any_bytes_of_a_value_arrive(self, value: bytes, connection: SshConnection) -> None:
        assert connection.run('printf %s "$VALUE"; env -0', variables={"VALUE": value}).stdout.startswith(
            value
        )

    @_FEW
    @given(
        names=st.lists(
            st.text(string.ascii_letters + "_", min_size=4, max_size=12).map(lambda name: f"X{name}"),
            unique=True,
            max_size=20,
        )
    )
    def test_every_variable_is_exported_once(self, names: list[str], connection: SshConnection) -> None:
        result = connection.run("env", variables={name: f"of {name}" for name in names})
        lines = result.stdout_text.splitlines()
        assert all(lines.count(f"{name}=of {name}") == 1 for name in names)

    def test_the_longest_value_that_the_kernel_takes_arrives(self, connection: SshConnection) -> None:
        longest = 128 * 1024 - len("VALUE=") - 1
        result = connection.run(
            "env | grep -c ^VALUE=xxx; echo ${#VALUE}", variables={"VALUE": "x" * longest}
        )
        assert result.stdout_text.split() == ["1", str(longest)]

    def test_a_longer_one_is_refused_before_anything_is_sent(self, connection: SshConnection) -> None:
        with pytest.raises(InvalidCommand, match="VALUE has 1000000 bytes"):
            connection.run("true", variables={"VALUE": "x" * 1_000_000})

    def test_variables_may_change_what_the_shell_itself_uses(self, connection: SshConnection) -> None:
        result = connection.run(
            "echo $LC_ALL; echo $HOME", variables={"LC_ALL": "C", "HOME": "/elsewhere", "IFS": "x"}
        )
        assert result.stdout == b"C\n/elsewhere\n"

    def test_neither_script_nor_variables_show_in_any_process_list(self, connection: SshConnection) -> None:
        value, word = secret("value of a variable"), secret("word of a script")
        seen: list[bytes] = []
        running = threading.Event()
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                for file in Path("/proc").glob("[0-9]*/cmdline"):
                    try:
                        seen.append(file.read_bytes())
                    except OSError:
                        continue
                running.set()

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            running.wait()
            for login_shell in (False, True):
                script = f": {word}; x='{word}'; read -r -t 0.5 <> <(:); [ -n \"$VALUE\" ]"
                result = connection.run(script, variables={"VALUE": value}, login_shell=login_shell)
                assert result.exit_code == 0
            if "expect" in connection.facts().tools:
                connection.run(f"set x {word}; sleep 0.3", interpreter="expect", variables={"VALUE": value})
        finally:
            done.set()
            watcher.join()
        assert any(b"bash" in line for line in seen)
        assert not [line for line in seen if value.encode() in line or word.encode() in line]


class TestOtherInterpreters:
    def test_expect_runs_its_script_with_variables_and_exit_code(self, connection: SshConnection) -> None:
        result = connection.run(
            'spawn -noecho cat\nsend "ping\\r"\nexpect ping\n'
            'puts stderr "[info exists env(NAME)] $env(NAME)"\n'
            "exit 4\n",
            interpreter="expect",
            variables={"NAME": "a 'quoted' $value"},
        )
        assert result.exit_code == 4
        assert result.stderr == b"1 a 'quoted' $value\n"
        assert b"ping" in result.stdout

    def test_an_expect_script_may_be_long(self, connection: SshConnection) -> None:
        script = "# " + "x" * 200_000 + "\nputs done\n"
        assert connection.run(script, interpreter="expect").stdout == b"done\n"

    def test_powershell_is_refused_with_a_reason(self, connection: SshConnection) -> None:
        with pytest.raises(InvalidCommand, match="Windows hosts"):
            connection.run("Get-Date", interpreter="powershell")

    def test_a_nul_byte_is_refused(self, connection: SshConnection) -> None:
        with pytest.raises(InvalidCommand, match="NUL byte"):
            connection.run(b"echo \0")


class TestFacts:
    def test_facts_are_those_of_the_account_and_host(self, connection: SshConnection) -> None:
        facts = connection.facts()
        assert (facts.uid, facts.gid) == (os.getuid(), os.getgid())
        assert facts.home == str(Path.home())
        assert facts.kernel == f"{os.uname().sysname} {os.uname().release}"
        assert facts.architecture == os.uname().machine
        assert facts.tools["bash"].endswith("/bash")
        assert facts.operating_system

    def test_facts_are_asked_for_once(self, connection: SshConnection) -> None:
        assert connection.facts() is connection.facts()
