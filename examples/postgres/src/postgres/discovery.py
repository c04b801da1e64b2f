"""From what the scripts print to values. Nothing here talks to a host, so all of it is tested without one."""

import re
from dataclasses import dataclass

DEFAULT_PORT = 5432


@dataclass(frozen=True)
class Installation:
    bin_directory: str
    version: str

    @property
    def major_version(self):
        """What PG_VERSION holds: two numbers before PostgreSQL 10, one since."""
        numbers = re.match(r"(\d+)(?:\.(\d+))?", self.version)
        return numbers.group(0) if int(numbers.group(1)) < 10 else numbers.group(1)


@dataclass(frozen=True)
class Cluster:
    data_directory: str
    name: str
    version: str
    config_file: str
    program: str
    port: int | None
    readable: bool
    owner: str
    staging: bool

    @property
    def running(self):
        return bool(self.program)

    def belongs_to(self, bin_directory, major_version):
        """A running cluster belongs to the installation it runs from, another one to its major version."""
        if self.program.startswith("/"):
            return self.program.rpartition("/")[0] == bin_directory
        return self.version == major_version


def parse_installations(output):
    fields = output.split("\0")
    pairs = zip(fields[0::2], fields[1::2], strict=False)  # the last NUL leaves an odd, empty field
    found = [(directory, re.search(r"\) (\d[^\s]*)", line)) for directory, line in pairs]
    return [Installation(directory, version.group(1)) for directory, version in found if version]


def parse_clusters(output):
    clusters = []
    for record in output.split("\0\0"):
        if record:
            clusters.append(_cluster(dict(field.split("=", 1) for field in record.split("\0"))))
    return sorted(clusters, key=lambda cluster: cluster.data_directory)


def note(cluster, user):
    """What could not be found out, for a person; None when everything was."""
    if cluster.readable:
        return None
    unknown = " Its port is unknown." if cluster.port is None else ""
    return f"{user} cannot read the data directory; what is known comes from outside it.{unknown}"


def _cluster(fields):
    readable = fields["readable"] == "yes"
    port = int(fields["port"]) if fields["port"].isdigit() else None
    if port is None and readable:
        port = DEFAULT_PORT  # every place that could name another one was read
    return Cluster(
        data_directory=fields["data"],
        name=fields["name"],
        version=fields["version"],
        config_file=fields["config"],
        program=fields["program"],
        port=port,
        readable=readable,
        owner=fields["owner"],
        staging=fields["staging"] == "on",
    )
