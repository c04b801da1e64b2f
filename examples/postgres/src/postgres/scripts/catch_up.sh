# Waits up to five seconds until the standby has replayed $LSN; prints whether it has, and what it has replayed.
for ((i = 0; i < 50; i++)); do
    answer=$(ask "SELECT pg_last_wal_replay_lsn() >= '$LSN', pg_last_wal_replay_lsn()") || fail "$(tail -n 20 "$log")"
    [[ $answer == t* ]] && break
    ! grep -m 1 -E 'requested WAL segment .* removed|insufficient parameter settings' "$log" >&2 || exit
    sleep 0.1
done
echo "$answer"
