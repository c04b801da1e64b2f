# Prints each PostgreSQL cluster that this user can see: fields KEY=VALUE, each ended by NUL; an empty field ends
# a cluster. Values that cannot be found out are empty.
shopt -s nullglob
declare -A clusters name version config program port

# The last value that the files give to a setting.
setting() { # SETTING FILE…
    local key="$1"
    shift
    sed -n -E "s/^[[:space:]]*$key[[:space:]]*=?[[:space:]]*('([^']*)'|([^'#[:space:]]+)).*/\2\3/p" "$@" \
        2> /dev/null | tail -n 1
}

# True when there certainly is no such path, and not only none that this user may see.
missing() { # PATH
    [ -e "$1" ] && return 1
    local parent=${1%/*}
    until [ -d "${parent:-/}" ]; do parent=${parent%/*}; done
    [ -x "${parent:-/}" ]
}

# Puts the cluster's data directory, links resolved, into $data.
cluster() { # DIRECTORY
    data=$(readlink -f -- "$1" || printf '%s' "$1")
    clusters[$data]=yes
}

# What is running: a server names its data directory in its arguments, or at least works in it.
for process in /proc/[0-9]*; do
    arguments=()
    { mapfile -d '' -t arguments < "$process/cmdline"; } 2> /dev/null
    [[ ${arguments[0]-} =~ (^|/)(postgres|postmaster)$ ]] || continue
    directory="" file="" number=""
    for ((i = 1; i < ${#arguments[@]}; i++)); do
        case ${arguments[i]} in
            -D | -p | -c) option=${arguments[i]}${arguments[++i]-} ;;
            *) option=${arguments[i]} ;;
        esac
        case $option in
            -D*) directory=${option#-D} ;;
            -p*) number=${option#-p} ;;
            -cport=* | --port=*) number=${option#*=} ;;
            *config_file=*) file=${option#*=} ;;
            *data_directory=*) directory=${option#*=} ;;
        esac
    done
    if [[ $directory != /* ]]; then # a server, unlike one that only tells its version, works in a cluster
        directory=$(readlink "$process/cwd") && [ -e "$directory/PG_VERSION" ] || continue
    fi
    missing "$directory" && continue # it belongs to a container with files of its own
    cluster "$directory"
    program[$data]=$(readlink -f -- "${arguments[0]}")
    config[$data]=$file
    port[$data]=$number
done

# What Debian's tools have configured, running or not.
for file in /etc/postgresql/*/*/postgresql.conf; do
    IFS=/ read -r _ _ _ number label _ <<< "$file"
    directory=$(setting data_directory "$file")
    cluster "${directory:-/var/lib/postgresql/$number/$label}"
    name[$data]=$number/$label
    version[$data]=$number
    config[$data]=$file
done

# What lies in the usual places. A directory that cannot be entered is taken for what its place says it is.
for directory in /var/lib/postgresql/*/* /var/lib/pgsql/data /var/lib/pgsql/*/data /var/lib/postgres/data \
    /usr/local/pgsql/data "${PGDATA-}"; do
    [ -d "$directory" ] || continue
    [ -e "$directory/PG_VERSION" ] || [ ! -x "$directory" ] || continue
    cluster "$directory"
    [[ ${version[$data]-} == "" && $directory =~ ^/var/lib/(postgresql|pgsql)/([0-9.]+)/ ]] || continue
    version[$data]=${BASH_REMATCH[2]}
done

for data in "${!clusters[@]}"; do
    readable=no
    if [ -r "$data/PG_VERSION" ]; then
        readable=yes
        version[$data]=$(< "$data/PG_VERSION")
        : "${config[$data]:=$data/postgresql.conf}"
        : "${name[$data]:=$(setting cluster_name "${config[$data]}")}"
    fi
    number=$(sed -n 4p "$data/postmaster.pid" 2> /dev/null)
    : "${number:=${port[$data]-}}"
    : "${number:=$(setting port "${config[$data]-}" "${config[$data]%/*}"/conf.d/*.conf "$data/postgresql.auto.conf")}"
    printf '%s\0' \
        "data=$data" "name=${name[$data]-}" "version=${version[$data]-}" "config=${config[$data]-}" \
        "program=${program[$data]-}" "port=$number" "readable=$readable" \
        "owner=$(stat -c %U -- "$data" 2> /dev/null)" "staging=$(setting 'dlpx\.staging' "${config[$data]-}")" ""
done
exit 0
