# Writes the copy's own configuration in place of what it brought along.
role=$(< "$MOUNT/superuser")
printf '%s' "$SETTINGS" > "$data/postgresql.conf" &&
    printf '%s' "$ACCESS" > "$data/pg_hba.conf" &&
    printf 'dlpx "%s" "%s"\n' "$(id -un)" "${role//\"/\"\"}" > "$data/pg_ident.conf" || exit
