# A standby has to allow for as many connections and workers as its source, which the control file names.
"$BIN/pg_controldata" "$data" |
    sed -n -E 's/^(max_[a-z_]+) setting: +([0-9]+)$/\1 = \2/p' |
    sed -E 's/_xact(s?) /_transaction\1 /' >> "$data/postgresql.conf" || exit
