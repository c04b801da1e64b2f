"""What a page may take for granted: the marks ``<!-- given: NAME -->``, each a piece of shell.

It runs once a page (and once more after ``<!-- anew -->``), in the page's directory, and must succeed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.docs.markdown import ROOT

_DATA = """\
mkdir -p /srv/orders
echo orders >/srv/orders/.dlpx-source
echo 'first order' >/srv/orders/1.txt
chown -R oracle /srv/orders
"""

WORD = "open-sesame-of-the-pages"
"""Every password, token and secret that the pages take from somewhere."""
_SERVERS = f"""\
session="$PWD/.session"
mkdir -p -m 700 /etc/dlpx-remote /run/secrets
for name in webhook pg oracle; do printf '%s\\n' {WORD} >/etc/dlpx-remote/$name; done
cp /etc/dlpx-remote/pg /etc/dlpx-remote/oracle /run/secrets
cp ~/.ssh/id_ed25519 /etc/dlpx-remote/deploy.key
chmod 600 /etc/dlpx-remote/* /run/secrets/*
cd {ROOT}
rm -f /run/servers && touch /run/servers  # what those of an earlier page said is no sign
{sys.executable} -m tests.docs.servers >/run/servers 2>&1 &
until grep -q ready /run/servers; do kill -0 $! || {{ cat /run/servers; exit 1; }}; sleep 0.05; done
for name in WIN1_PASSWORD VAULT_TOKEN; do printf 'export %s=%s\\n' $name {WORD} >>"$session"; done
echo 'export VAULT_ADDR=http://127.0.0.1:8200' >>"$session"
"""

# The first one is kept; others are copies of it.
_CLUSTER = """\
kept=/var/cache/pages/cluster
if [ ! -e $kept ]; then
    pg_createcluster --port 5432 15 main -- --no-sync --wal-segsize=1 >/dev/null
    echo 'fsync = off' >>/etc/postgresql/15/main/postgresql.conf
    mkdir -p $kept.new
    mv /etc/postgresql/15/main $kept.new/settings
    mv /var/lib/postgresql/15/main $kept.new/data
    mv $kept.new $kept
fi
mkdir -p /etc/postgresql/15 /var/lib/postgresql/15
cp -a $kept/settings /etc/postgresql/15/{name}
cp -a $kept/data /var/lib/postgresql/15/{name}
sed -i 's#15\\([-/]\\)main#15\\1{name}#; s/^port = .*/port = {port}/' \\
    /etc/postgresql/15/{name}/postgresql.conf
"""
# As containers/ssh has them; where this machine has clusters, they are none of the pages'.
_DEMO = f"""\
rm -rf /etc/postgresql/15 /var/lib/postgresql/15
{_CLUSTER.format(port=5432, name="main")}
{_CLUSTER.format(port=5433, name="archive")}
cd /
install -d -o postgres -g postgres "/srv/order data"
cp -a /var/lib/postgresql/15/archive "/srv/order data/15"
cp -a /etc/postgresql/15/archive/*.conf "/srv/order data/15"
sed -i "/^data_directory\\|^hba_file\\|^ident_file\\|^external_pid_file/d; s/^port = .*/port = 5434/" \
    "/srv/order data/15/postgresql.conf"
mkdir "/srv/order data/15/conf.d"
pg_ctlcluster 15 main start
runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl start --silent --wait -D "/srv/order data/15" \
    --log /var/log/postgresql/order-data.log
mkdir -p ~oracle/reports ~oracle/uploads
echo "Monthly reports" >~oracle/reports/.dlpx-source
echo "Uploads of the shop" >~oracle/uploads/.dlpx-source
chown -R oracle ~oracle/reports ~oracle/uploads
n=1
for host in db1 db2 staging1; do
    dlpx-remote env add demo$n --host $host.example.com --user oracle; n=$((n + 1))
done
cd -
dlpx-remote plugin add examples/files
dlpx-remote plugin add examples/postgres
"""
_DATABASE = f"""\
rm -rf /etc/postgresql/15 /var/lib/postgresql/15
{_CLUSTER.format(port=5432, name="main")}
echo "listen_addresses = 'localhost, db.example.com'" >>/etc/postgresql/15/main/postgresql.conf
# The first line is for what starts it, which else waits for seconds.
printf '%s\\n' 'local all all peer' 'host all all 127.0.0.0/8 trust' >/etc/postgresql/15/main/pg_hba.conf
pg_ctlcluster 15 main start
createuser --host localhost --username postgres dlpx
createdb --host localhost --username postgres --owner dlpx dlpx
mkdir -p /etc/dlpx-remote
(umask 077; echo postgresql://dlpx:{WORD}@db.example.com/dlpx >/etc/dlpx-remote/database)
"""
_LOGIN = """\
dlpx-remote plugin init ./shop --name Shop
python3 - <<'END'
import json, pathlib
file = pathlib.Path("shop/schema.json")
schema = json.loads(file.read_text())
where = "https://delphix.com/platform/api#/definitions/credentialsSupplier"
schema["virtualSourceDefinition"]["properties"]["login"] = {"$ref": where}
file.write_text(json.dumps(schema))
END
dlpx-remote plugin add ./shop
dlpx-remote env add shop --host db2.example.com --user oracle
mkdir -p ~oracle/orders
touch ~oracle/orders/.shop
chown -R oracle ~oracle/orders
dlpx-remote discover
dlpx-remote dsource link orders -e shop --source-config /home/oracle/orders
dlpx-remote dsource sync orders
"""

GIVEN: dict[str, tuple[tuple[str, ...], str]] = {
    "db1": ((), "dlpx-remote env add db1 --host db1.example.com --user oracle"),
    "db2": ((), "dlpx-remote env add db2 --host db2.example.com --user oracle"),
    "staging1": ((), "dlpx-remote env add staging1 --host staging1.example.com --user oracle"),
    "pool": (
        (),
        "dlpx-remote storage init /srv/dlpx-pool --backend copy",
    ),
    "files": ((), "dlpx-remote plugin add examples/files"),
    "found": (("db1", "db2", "files", "pool"), f"{_DATA}dlpx-remote discover"),
    "orders": (
        ("found",),
        "dlpx-remote dsource link orders -e db1 --source-config orders\ndlpx-remote dsource sync orders",
    ),
    "masked": (
        ("orders",),
        "dlpx-remote vdb provision masked --from orders -e db2 --param mountPath=/srv/masked",
    ),
    "servers": ((), _SERVERS),
    "win1": (
        ("servers",),
        "dlpx-remote env add win1 --os windows --host win1.example.com --user Administrator"
        " --password-from env:WIN1_PASSWORD",
    ),
    "books": (
        ("db1", "staging1", "pool"),
        "dlpx-remote plugin init ./books --name Books --staged\ndlpx-remote plugin add ./books\n"
        "mkdir -p ~oracle/books\ntouch ~oracle/books/.books\nchown -R oracle ~oracle/books\n"
        "echo 'mountPath: /srv/books' >books.yml\n"
        "dlpx-remote discover db1",
    ),
    "disk": (
        (),
        "truncate -s 400M /var/lib/disk.img\nloop=$(losetup --find --show /var/lib/disk.img)\n"
        "mknod -m 660 /dev/sdb b 7 ${loop#/dev/loop}",
    ),
    "xfs": (
        (),
        "truncate -s 400M /var/lib/xfs.img\nmkfs.xfs -q /var/lib/xfs.img\nmkdir -p /xfs\n"
        "mount -o loop /var/lib/xfs.img /xfs",
    ),
    "demo": ((), _DEMO),
    "database": ((), _DATABASE),
    "login": (("servers", "db2", "pool"), _LOGIN),
    "plugin": ((), "dlpx-remote plugin init ./my-plugin"),
    "scripts": (
        (),
        "for name in mask tell report; do\n"
        "printf '#!/bin/bash\\necho %s\\n' $name >$name.sh; chmod +x $name.sh; done",
    ),
}
"""By name: what else must be there before, and the shell that makes it."""


def needed(name: str) -> set[str]:
    """``name`` and all that it needs."""
    return {name}.union(*(needed(each) for each in GIVEN[name][0]))


def scripts(names: list[str], done: set[str]) -> Iterator[tuple[str, str]]:
    """Name and shell of ``names`` and all that they need, without what is ``done`` already; adds to that."""
    for name in names:
        wanted, script = GIVEN[name]
        yield from scripts(list(wanted), done)
        if name not in done:
            done.add(name)
            yield name, script
