# Stops the server, and takes away what it has outside the data set.
if pid=$(postmaster); then
    "$BIN/pg_ctl" stop --silent --mode fast --pgdata "$data" ||
        "$BIN/pg_ctl" stop --silent --mode immediate --pgdata "$data" || exit
    for ((i = 0; i < 200; i++)); do
        [ -d "/proc/$pid" ] || break
        sleep 0.05
    done
fi
rm -rf "$SOCKETS" "${PASSWORD_FILE-}"
