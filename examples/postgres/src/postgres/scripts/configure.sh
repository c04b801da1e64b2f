# Writes the copy's own configuration in place of what it brought along.
role=$(< "$MOUNT/superuser")
sync=
if [ "${MAJOR%%.*}" -ge 14 ] && [ "$(uname -s)" = Linux ]; then
    # Before it recovers, a server sees that its files are on disk. One by one, that is a thousand round trips over NFS.
    sync="recovery_init_sync_method = 'syncfs'"
fi
printf '%s\n%s' "$sync" "$SETTINGS" > "$data/postgresql.conf" &&
    printf '%s' "$ACCESS" > "$data/pg_hba.conf" &&
    printf 'dlpx "%s" "%s"\n' "$(id -un)" "${role//\"/\"\"}" > "$data/pg_ident.conf" || exit
