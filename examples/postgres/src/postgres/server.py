"""One PostgreSQL server on one host: a data set with a cluster in it, and the programs that run it.

What lies in the data set, and travels with each snapshot of it:

    data/            the cluster
    tablespaces/OID  its tablespaces, which would lie outside otherwise
    superuser        name of the role that the cluster was made with; its presence says that data/ is complete
    state            what the last sync or snapshot says of the data, see state.py
    server.log       what the server has said since its last start

The server runs as the environment user. Its socket is in a directory of its own that only this user may
enter, and that is where this plugin talks to it: no password is needed.
"""

import logging
import pkgutil
import shlex
from dataclasses import dataclass
from typing import Any

from dlpx.virtualization import libs

from postgres import failures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    connection: Any
    bin_directory: str
    mount: str
    guid: str
    major_version: str
    port: int | None = None  # None: it listens on its socket only

    def run(self, doing, *scripts, secrets=None, **values):
        """What scripts of this plugin print, run as one. A failure is a UserError that says what to do.

        doing: ends the sentence "PostgreSQL could not …".
        secrets: go as variables, which the engine masks wherever a script's output is shown.
        values: are no secrets, and stand at the script's head, quoted: masked, they would make errors
            unreadable.
        """
        result = self._run(scripts, values, secrets)
        if result.exit_code:
            host = self.connection.environment.name
            raise failures.explain(f"could not {doing} on {host}", result.stderr, self.connection.user.name)
        return result.stdout

    def complete(self):
        """Whether there is a whole cluster in the data set."""
        return self.run("be looked at", "complete.sh") == "yes\n"

    def running(self):
        return self.run("be looked at", "running.sh") == "yes\n"

    def answers(self, in_recovery):
        """Whether the server runs, answers a query, and is the standby (or not) that it should be."""
        result = self._run(["answers.sh"])
        if result.exit_code:
            logger.info("no answer from the server in %s: %s", self.mount, result.stderr.strip())
            return False
        return result.stdout.strip() == ("t" if in_recovery else "f")

    def ask(self, doing, statement):
        """One line, the answer to an SQL statement."""
        return self.run(doing, "ask.sh", STATEMENT=statement).strip()

    def start(self, doing="be started"):
        """Starts the server and waits until it answers; one that runs is left alone."""
        self.run(doing, "start.sh")

    def stop(self):
        """Stops the server and waits until its processes have gone; nothing to stop is no failure."""
        self.run("be stopped", "stop.sh")

    def size(self):
        """Bytes in the data set."""
        return int(self.run("be measured", "size.sh"))

    def _run(self, scripts, values=None, secrets=None):
        values = {
            "BIN": self.bin_directory,
            "MAJOR": self.major_version,
            "MOUNT": self.mount,
            "SOCKETS": f"/tmp/dlpx-postgres-{self.guid}",
            "PORT": self.port or 5432,
            "LISTENS": "yes" if self.port else "",
            **(values or {}),
        }
        head = [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
        texts = [
            pkgutil.get_data(__name__, f"scripts/{script}").decode() for script in ("server.sh", *scripts)
        ]
        return libs.run_bash(self.connection, "\n".join([*head, *texts]), secrets)
