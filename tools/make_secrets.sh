#!/bin/sh
# Makes the secret files that docker-compose.yml mounts. A file that is there is left as it is.
#
# The folder is closed to other users of this machine; the files in it can be read, because the processes in the
# containers run as users of their own.
set -eu

cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets

random() {
    head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'
}

make() {
    if [ ! -e "secrets/$1" ]; then
        printf '%s' "$2" >"secrets/$1"
        chmod 444 "secrets/$1"
        echo "made secrets/$1"
    fi
}

make api_token "$(random 24)"
make store_password "$(random 24)"
make grafana_password "$(random 12)"
# The key of the hash by which complaints of one reporter are matched. All workers share it; losing it ends the matching.
make reporter-hash.key "$(random 32)"

# The departments' receivers, with the files of their secrets beside the list (docs/department.md).
mkdir -p secrets/receivers
chmod 755 secrets/receivers
make receivers/receivers.yaml 'receivers: []
'
