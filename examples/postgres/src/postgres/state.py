"""What a snapshot is told to hold.

It is noted in the data set *before* the snapshot is taken, and read again afterwards: by then a running
server is ahead of the snapshot, and would claim too much.
"""

import json
import re
from datetime import UTC, datetime


def note(server):
    """Write dirty pages to disk, so that a copy opens quickly, and note what the data hold by now."""
    if server.run("note its state", "state.sh", "note.sh") == "stopped\n":
        noted = json.dumps(stopped(server.run("be examined", "stopped_state.sh")))
        server.run("note its state", "note.sh", STATE=noted)


def read(server):
    return json.loads(server.run("read its state", "noted.sh"))


def stopped(control_data):
    """The state of a cluster that does not run, from the server's version line and pg_controldata's lines."""
    version, *lines = control_data.splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    last = datetime.strptime(fields["Time of latest checkpoint"].strip(), "%a %b %d %H:%M:%S %Y")
    return {
        "lsn": fields["Latest checkpoint location"].strip(),
        "time": last.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "timeline": int(fields["Latest checkpoint's TimeLineID"]),
        "system_identifier": fields["Database system identifier"].strip(),
        "version": re.search(r"\) (\d\S*)", version).group(1),
    }
