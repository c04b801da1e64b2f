# Makes ready what a snapshot brought: it was taken of a running server, under another path.
[ -e "$MOUNT/superuser" ] || fail "there is no cluster in $MOUNT"
for link in "$data"/pg_tblspc/*; do
    [ -L "$link" ] || continue
    ln -sfn "$MOUNT/tablespaces/${link##*/}" "$link" || exit
done
if [ -e "$data/standby.signal" ]; then
    mv "$data/standby.signal" "$data/recovery.signal" || exit
fi
