# Comes before every other script about a server; its head sets BIN, MAJOR, MOUNT, SOCKETS, PORT and LISTENS.
data=$MOUNT/data log=$MOUNT/server.log
for variable in "${!PG@}"; do # the account's own must not lead us elsewhere
    [ "$variable" = PGPASSWORD ] || unset "$variable"
done
export LC_ALL=C TZ=UTC

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

[ "$(id -u)" != 0 ] || fail "PostgreSQL cannot be run as root"

# Staging need not have its programs where the source has them.
has_major() { [[ $("$1/postgres" --version 2> /dev/null) =~ \)\ $MAJOR[^0-9] ]]; }
if ! [ -x "$BIN/postgres" ]; then
    for BIN in /usr/lib/postgresql/"$MAJOR"/bin /usr/pgsql-"$MAJOR"/bin /usr/local/pgsql/bin; do
        has_major "$BIN" && break
    done
    has_major "$BIN" || fail "there is no installation of PostgreSQL $MAJOR"
fi

# Prints the process of this server; fails when it does not run. A copy brings along the pid file of the server that
# it was copied from, which may well be running on this host: what counts is the directory that the process works in.
postmaster() {
    local pid=
    { read -r pid < "$data/postmaster.pid"; } 2> /dev/null
    [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$data" ] && echo "$pid"
}

ask() { # STATEMENT
    timeout "${PATIENCE:-15}" "$BIN/psql" --no-psqlrc --no-align --tuples-only --quiet --field-separator $'\t' \
        --set ON_ERROR_STOP=1 --host "$SOCKETS" --port "$PORT" --username "$(< "$MOUNT/superuser")" \
        --dbname postgres --command "$1"
}
