# Starts the server, and waits until it answers.
if ! postmaster > /dev/null; then
    if [ -n "$LISTENS" ] && (: <> "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; then
        fail "port $PORT is in use"
    fi
    rm -f "$data/postmaster.pid"
    mkdir -p "$SOCKETS" && chmod 0700 "$SOCKETS" && : > "$log" || exit
    if ! "$BIN/pg_ctl" start --silent --timeout 3600 --pgdata "$data" --log "$log" \
        --options "-p $PORT -k '$SOCKETS'" < /dev/null > /dev/null; then
        "$BIN/pg_ctl" stop --silent --mode immediate --pgdata "$data" > /dev/null 2>&1
        fail "$(tail -n 30 "$log")"
    fi
fi
# pg_ctl is content when recovery has begun, if nobody is let in before its end. The server notes its state itself:
# to ask it again and again would fill its log.
until { mapfile -t notes < "$data/postmaster.pid"; } 2> /dev/null && [[ ${notes[7]-} =~ ^(ready|${LISTENS:-standby}) ]]; do
    postmaster > /dev/null && ((SECONDS < 1800)) || fail "$(tail -n 30 "$log")"
    sleep 0.05
done
