# Prints each PostgreSQL installation once: directory of the server binary, NUL, its version line, NUL.
# One that cannot run here is left out; where it is not known whether it can, the script fails.
PATIENCE=60
shopt -s nullglob
directories=(/usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql*/bin /opt/*/bin /opt/*/*/bin)

IFS=: read -r -a path <<< "$PATH"
directories+=("${path[@]}")

for process in /proc/[0-9]*; do
    { IFS= read -r -d '' program < "$process/cmdline"; } 2> /dev/null || continue
    [[ $program == /*/postgres ]] && directories+=("${program%/postgres}")
done

declare -A seen
for directory in "${directories[@]}"; do
    [ -f "$directory/postgres" ] && [ -x "$directory/postgres" ] || continue
    binary=$(readlink -f -- "$directory/postgres")
    [ -z "${seen[$binary]-}" ] || continue
    seen[$binary]=yes
    version=$(timeout "$PATIENCE" "$binary" --version 2> /dev/null)
    code=$?
    if [ "$code" = 0 ]; then
        printf '%s\0%s\0' "${binary%/*}" "$version"
    elif [ "$code" = 124 ]; then
        echo "$binary has not told its version within $PATIENCE s" >&2
        exit 1
    elif [ "$code" = 125 ] || [ "$code" -ge 128 ]; then
        echo "$binary could not be asked for its version (exit code $code): is there room for another process?" >&2
        exit 1
    else
        echo "$binary does not run here (exit code $code), and is left out" >&2
    fi
done
exit 0
