"""The text of PostgreSQL's configuration files. Nothing here talks to a host: it is all tested without one.

A copy does not take over the source's files: they name the source's port, sockets, certificates and archive,
and on Debian they are not even in the data directory.
"""

HEAD = """\
# Written by the dlpx PostgreSQL plugin whenever it opens this copy. Change settings with the parameter
# 'settings', or with ALTER SYSTEM, which wins over this file.
"""
# A copy-on-write file system gains nothing from files that are filled with zeros or used again.
COMMON = {
    "lc_messages": "C",
    "logging_collector": "off",
    "wal_init_zero": "off",
    "wal_recycle": "off",
}


def settings_file(*groups):
    """postgresql.conf; what a later group says wins."""
    settings = {name: value for group in (COMMON, *groups) for name, value in group.items()}
    return HEAD + "".join(f"{name} = {quoted(value)}\n" for name, value in settings.items())


def access_file(clients=()):
    """pg_hba.conf: the owner of the files over the socket, clients with their passwords.

    clients: addresses in CIDR form.
    """
    lines = ["local all all peer map=dlpx", *(f"host all all {client} scram-sha-256" for client in clients)]
    return "".join(f"{line}\n" for line in lines)


def connection_string(**fields):
    """libpq's keyword=value form; None leaves a field out."""
    return " ".join(f"{name}={quoted(value)}" for name, value in fields.items() if value is not None)


def password_line(password):
    """A line of a password file that fits every connection."""
    return "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:")


def quoted(value):
    """In the single quotes that both postgresql.conf and libpq understand."""
    if isinstance(value, bool):
        value = "on" if value else "off"
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
