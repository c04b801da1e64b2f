# Prints each PostgreSQL installation once: directory of the server binary, NUL, its version line, NUL.
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
    version=$(timeout 10 "$binary" --version 2> /dev/null) && printf '%s\0%s\0' "${binary%/*}" "$version"
done
exit 0
