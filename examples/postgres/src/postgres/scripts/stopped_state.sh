"$BIN/postgres" --version && "$BIN/pg_controldata" "$data"
