# Keeps the source's password for the standby, where only this user reads it.
if [ -n "${PGPASSWORD-}" ]; then
    (umask 077 && printf '%s\n' "$PASSWORD_LINE" > "$PASSWORD_FILE") || exit
fi
