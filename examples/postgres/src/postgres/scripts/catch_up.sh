# Waits up to five seconds until the standby has replayed $LSN; prints whether it has, what it has replayed, and of which
# cluster it is. One of another cluster than $CLUSTER is not waited for.
for ((i = 0; i < 50; i++)); do
    answer=$(ask "
SELECT pg_last_wal_replay_lsn() >= '$LSN', pg_last_wal_replay_lsn(), system_identifier
FROM pg_control_system()") || fail "$(tail -n 20 "$log")"
    [[ $answer == t* || $answer != *$'\t'$CLUSTER ]] && break
    ! grep -m 1 -E 'requested WAL segment .* removed|insufficient parameter settings' "$log" >&2 || exit
    sleep 0.1
done
echo "$answer"
