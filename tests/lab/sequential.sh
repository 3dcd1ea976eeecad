# The protocol's own rule, one step after another: walk the brain chain until somebody answers; the
# brain walks the service's chain until somebody answers, stops the service everywhere else, and
# starts it there. $1 is the node this is, $2 the brain chain and $3 the service's, each node as
# name=address.
self=$1 brains=$2 bots=$3

on() {
    if [ "${1%%=*}" = "$self" ]; then
        sh -c "$2"
    else
        ssh -n -o BatchMode=yes -o ConnectTimeout=3 "root@${1#*=}" "$2"
    fi
}

first_alive() {
    for node; do
        on "$node" true && echo "$node" && return
    done
}

while :; do
    # shellcheck disable=SC2086 # the chains are lists of words
    brain=$(first_alive $brains)
    if [ "${brain%%=*}" = "$self" ]; then
        # shellcheck disable=SC2086
        target=$(first_alive $bots)
        if ! on "$target" "service status"; then
            for node in $bots; do
                [ "$node" = "$target" ] || on "$node" "service stop"
            done
            on "$target" "service start"
        fi
    fi
    sleep 5
done
