"""What PostgreSQL's own words mean for the operator, and what to do about it."""

import re

from dlpx.virtualization.platform import UserError

_SHOWN = 4000  # characters of the output's end

_KNOWN = (
    (
        r"has not told its version|could not be asked for its version",
        "Whether there is any is not known.",
        "See why the host is that busy, or what is wrong with the program; then discover again.",
    ),
    (
        r"No space left on device|could not extend file|Disk quota exceeded",
        "The file system is full.",
        "Make room for it: on the engine, where the data set lies, or on the host for /tmp and the home.",
    ),
    (
        r"password authentication failed|no password supplied|fe_sendauth",
        "The source did not accept the password.",
        "Correct the parameter 'password', or the source's line in ~/.pgpass of {user} on the staging host.",
    ),
    (
        r"no pg_hba\.conf entry",
        "The source does not let this host in.",
        "Allow the role in the source's pg_hba.conf, once for the database 'replication' and once for "
        "'postgres', from the staging host's address, and reload it.",
    ),
    (
        r'role "[^"]*" does not exist|permission denied to start WAL|must be superuser or replication role',
        "The source has no such role, or the role may not replicate.",
        "Make it on the source: CREATE ROLE name LOGIN REPLICATION PASSWORD '…';",
    ),
    (
        r"requested WAL segment \S+ has already been removed",
        "Staging has been away for so long that the source has recycled the WAL in between.",
        "Sync again with the snapshot parameter resync=true; a higher wal_keep_size on the source avoids it.",
    ),
    (
        r"max_wal_senders|remaining connection slots are reserved|too many clients",
        "The source has no connection left.",
        "Raise max_wal_senders or max_connections on the source.",
    ),
    (
        r"insufficient parameter settings",
        "The source allows more connections or workers than staging was started with.",
        "Disable and enable the dSource: staging takes the source's settings when it starts.",
    ),
    (
        r'server at "[^\n]* failed: (?!FATAL)|could not translate host name|timeout expired',
        "The source does not answer.",
        "See that it runs and listens on an address that the staging host reaches (listen_addresses, "
        "firewall); the parameters 'sourceHost' and 'sourcePort' say where it is.",
    ),
    (
        r"port \d+ is in use|Address already in use|could not create any TCP/IP sockets",
        "Another program listens on the port.",
        "Choose another port with the parameter 'port', or stop the other program.",
    ),
    (
        r"database files are incompatible with server",
        "The data belongs to another major version of PostgreSQL.",
        "Choose an installation (repository) of the same major version.",
    ),
    (
        r"no installation of PostgreSQL",
        "The programs are missing there.",
        "Install the same major version as the source has.",
    ),
    (
        r"cannot be run as root",
        "PostgreSQL does not run as root.",
        "Choose an environment user other than root.",
    ),
    (
        r"database locale is incompatible|invalid value for parameter \"lc_",
        "The host lacks the locale of the database.",
        "Install it on the host (Debian: dpkg-reconfigure locales).",
    ),
    (
        r"could not access file|could not load library",
        "A setting names a library that this installation does not have.",
        "Install the extension on the host, or correct the parameter 'settings'.",
    ),
    (
        r"unrecognized configuration parameter|invalid value for parameter|contains errors",
        "PostgreSQL does not understand a setting.",
        "Correct the parameter 'settings'.",
    ),
)


def explain(what, output, user):
    """The UserError for a script that failed.

    what: for example "could not be started on db2".
    output: what the script printed on stderr.
    """
    output = output.strip()[-_SHOWN:]
    for pattern, meaning, action in _KNOWN:
        if re.search(pattern, output):
            return UserError(f"PostgreSQL {what}. {meaning}", action.format(user=user), output)
    return UserError(f"PostgreSQL {what}.", "See its own words below.", output)
