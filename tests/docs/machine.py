"""A machine to throw away, in which pages are carried out as they stand: names, ports, paths, accounts.

It is this machine seen through an overlay, in namespaces of its own: files that are written, accounts that
are made, mounts, processes and ports are its own and gone with it; programs and libraries are this machine's.
It has no way to any network. Linux ends everything in it when the process that made it ends. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.demo.loopback import find_sshd
from tests.docs import quick
from tests.docs.markdown import ROOT

HOSTS = (
    "db1.example.com db1",
    "db2.example.com db2",
    "staging1.example.com staging1",
    "host.example.com gateway.example.com inner",
    "db.example.com",
    "win1.example.com win1",
    "ops.example.com",
)
"""Names in the pages; each is an address of this machine's own loopback, from 127.0.1.1 on."""
ACCOUNTS = ("oracle", "me", "engine", "deploy")
"""Who may log in there besides root and postgres: all with the reader's key."""
MAY = (ROOT / "docs" / "mounts.md").read_text("utf-8").partition("```sudoers\n")[2].partition("\n")[0]
"""What an account may do as root: the line of the page about mounts, and bind mounts here."""
READER = "/root"
"""The home directory of who carries the pages out, who is root."""

_START_LIMIT = 30.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_QUICK = "/opt/quick"

# Runs as the first process of its namespaces, with the old root still in sight.
_SETUP = r"""
set -euo pipefail
base=$1; shift
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
root=$base/root
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty console fuse kvm loop-control btrfs-control; do
    if [ -e /dev/$name ]; then cp -a /dev/$name "$root/dev/"; fi
done
# Those that are made later would not be seen there.
for number in $(seq 0 63); do mknod -m 660 "$root/dev/loop$number" b 7 "$number"; done
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount --rbind /dev/pts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "$root/dev/${name%:*}"; done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
# Images of pools lie in /var/lib. A mount of its own: an attached image keeps its mount, with all that is
# mounted on it, from going with the machine, so nothing may be mounted on that one.
mount --bind "$root/var/lib" "$root/var/lib"
for place in /root /srv /mnt /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root$place"; done
chmod 700 "$root/root"
for place in "$@"; do mkdir -p "$root$place"; mount --bind "$place" "$root$place"; done
cd "$root"
exec chroot . /bin/bash -c "$INSIDE"
"""
_INSIDE = r"""
set -euo pipefail
cd /
python3 - <<'END'
import fcntl, socket, struct
with socket.socket() as any_socket:  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING: net-tools need not be there
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))
END
hostname engine
# Without a network apt installs nothing, and says of what is there that it is, sooner without its lists.
rm -rf /var/lib/apt/lists
mkdir -p /var/lib/apt/lists/partial
mkdir -p /run/sshd /run/lock /run/secrets
for account in $ACCOUNTS; do
    useradd --create-home --shell /bin/bash --password '*' "$account"
    echo "$account ${MAY#* }" >>/etc/sudoers.d/pages
done
rm -rf "$READER/.ssh"
mkdir -m 700 "$READER/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$READER/.ssh/id_ed25519"
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
echo "* $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >"$READER/.ssh/known_hosts"
for account in root postgres $ACCOUNTS; do
    home=$(getent passwd "$account" | cut -d: -f6) || continue
    mkdir -p "$home/.ssh"
    cat "$READER/.ssh/id_ed25519.pub" >>"$home/.ssh/authorized_keys"
    chown -R "$account" "$home/.ssh"
    usermod --password '*' "$account"  # with none, sshd takes it for locked
done
cat >/etc/ssh/pages_config <<'END'
Port 22
Port 2222
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
END
"$SSHD" -f /etc/ssh/pages_config -E /var/log/pages-sshd
touch /run/ready
sleep infinity &
wait  # and take leave of processes whose parents are gone
"""


class MachineUnusable(Exception):
    """The machine cannot be made; the text says why."""


@dataclass(frozen=True)
class Ended:
    """A script that has ended.

    Attributes:
        code: its exit code.
        output: what it wrote, both streams together.
    """

    code: int
    output: str


class Machine:
    """A running one; see :func:`machine`."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._path = f"{sysconfig.get_path('scripts')}:{_PATH}"

    def be_quick(self) -> None:
        """Serve the command from a process that has it imported already; see :mod:`tests.docs.quick`."""
        started = self.run(
            f"mkdir -p {_QUICK}\ncat >{_QUICK}/dlpx-remote <<'END'\n{quick.CLIENT}END\n"
            f"chmod +x {_QUICK}/dlpx-remote\ncd {ROOT}\n"
            f"{sys.executable} -m tests.docs.quick {quick.SOCKET} >/run/quick-ready 2>/var/log/quick &\n"
            "until grep -q ready /run/quick-ready; do kill -0 $! || break; sleep 0.1; done\n"
            "grep -q ready /run/quick-ready || { cat /var/log/quick; exit 1; }"
        )
        if started.code:
            raise MachineUnusable(f"The quick command does not start: {started.output}")
        self.run("cd /proc && printf '%s\\n' [0-9]* >/run/baseline  # what a page finds running")
        self._path = f"{_QUICK}:{self._path}"

    def run(
        self,
        script: str,
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = 300.0,
        program: Sequence[str] = ("/bin/bash",),
    ) -> Ended:
        """Run a script in it, as root.

        Args:
            script: what ``program`` reads from stdin.
            environment: besides the usual one.
            timeout: in seconds; whatever still runs then is ended, and the code is 124.
            program: and its arguments.
        """
        command = ["nsenter", "--target", str(self._process), "--mount", "--net", "--uts", "--pid", "--ipc"]
        command += ["--root", "--wd", "timeout", "--kill-after=5", str(timeout), *program]
        # A file, for what goes on in the background would hold a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command,
                input=script.encode(),
                stdout=output,
                stderr=output,
                env={
                    "PATH": self._path,
                    "HOME": READER,
                    "LANG": "C.UTF-8",
                    "COLUMNS": "120",
                    "TERM": "dumb",
                    **(environment or {}),
                },
                check=False,
                timeout=timeout + 30,
            )
            output.seek(0)
            return Ended(done.returncode, output.read().decode("utf-8", "backslashreplace"))


@contextmanager
def machine(base: Path) -> Iterator[Machine]:
    """A machine for the ``with`` block.

    Args:
        base: an empty directory; nothing is written into it.

    Raises:
        MachineUnusable: not root, a program is missing, or the kernel refuses.
    """
    sshd = find_sshd()
    needed = ("unshare", "nsenter", "chroot", "useradd", "ssh-keygen")
    missing = [name for name in needed if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if os.geteuid() != 0 or sshd is None or missing:
        what = ", ".join([*missing, *([] if sshd else ["sshd"])]) or "root"
        raise MachineUnusable(f"The pages are carried out in a machine to throw away, which needs {what}.")
    command = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
    command += ["/bin/bash", "-c", _SETUP, "setup", str(base), *_elsewhere()]
    environment = {
        "PATH": _PATH,
        "INSIDE": _INSIDE,
        "ACCOUNTS": " ".join(ACCOUNTS),
        "MAY": f"{MAY}, /usr/bin/mount -o *",
        "READER": READER,
        "SSHD": str(sshd),
    }
    log = base.with_name(f"{base.name}.log")
    with log.open("w") as words:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words
        )
    try:
        inside = _wait_for(process, log)
        made = Machine(inside)
        names = "".join(f"127.0.1.{at} {each}\n" for at, each in enumerate(HOSTS, 1))
        made.run(f"cat >/etc/hosts <<'END'\n127.0.0.1 localhost engine\n{names}END\n")
        yield made
    finally:
        process.kill()  # with it goes the first process of the namespace, and with that all others
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], log: Path) -> int:
    """The first process of the machine, seen from here, once it is ready."""
    until = time.monotonic() + _START_LIMIT
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < until and process.poll() is None:
        inside = children.read_text().split() if children.exists() else []
        if inside and Path(f"/proc/{inside[0]}/root/run/ready").exists():
            return int(inside[0])
        time.sleep(0.02)
    raise MachineUnusable(f"The machine to throw away does not come up: {log.read_text()}")


def _elsewhere() -> list[str]:
    """This checkout and its Python, where the root's own file system does not show them."""
    base = Path(sys.base_prefix).resolve()
    wanted = [ROOT, Path(sys.prefix).resolve(), base]
    hidden = [Path(place) for place in ("/tmp", "/run", "/root", "/srv", "/mnt", "/var/tmp")]
    root = Path("/").stat().st_dev
    return [
        str(place)
        for place in dict.fromkeys(wanted)
        if place.stat().st_dev != root or any(place.is_relative_to(each) for each in hidden)
    ]
