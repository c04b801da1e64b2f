# Copies the source's cluster and its tablespaces into the data set, in place of what was there.
rm -rf "$MOUNT/superuser" "$data" "$MOUNT/tablespaces" || exit
mapping=()
while IFS=$'\t' read -r oid directory; do
    mapping+=(--tablespace-mapping "${directory//=/\\=}=$MOUNT/tablespaces/$oid")
done < <(printf '%s' "$TABLESPACES")

# Synced at once and not file by file, which over NFS takes longer than the copy.
"$BIN/pg_basebackup" --dbname "$SOURCE" --no-password --pgdata "$data" --wal-method stream \
    --checkpoint "$CHECKPOINT" --no-sync "${mapping[@]}" || exit
sync -f "$data" 2> /dev/null || sync
rm -f "$data/postgresql.auto.conf" # the source's ALTER SYSTEM settings
touch "$data/postgresql.auto.conf" "$data/standby.signal"
printf '%s\n' "$SUPERUSER" > "$MOUNT/superuser" # last: from here on there is a cluster
