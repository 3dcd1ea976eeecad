#!/bin/sh
# guarded.sh DIR VERB: a service that obeys the run rule by asking `mirror lease check`. NODE says
# which node this is; each beat in DIR/beats says when, where and in which epoch it acted.
dir=$1 verb=$2 node=${NODE:?}
export STATE_DIRECTORY="$dir/state-$node"
pid_file=$dir/$node.pid

runs() {
    read -r pid 2>/dev/null <"$pid_file" && kill -0 "$pid" 2>/dev/null &&
        ! grep -q '^State:.Z' "/proc/$pid/status"
}

case $verb in
status) runs ;;
start)
    runs && exit
    setsid sh "$0" "$dir" act </dev/null >/dev/null 2>&1 &
    echo $! >"$pid_file"
    ;;
stop)
    if runs; then kill -9 "$pid"; fi
    rm -f "$pid_file"
    ;;
act)
    until=0 under=
    while :; do
        began=$(date +%s%N)
        if said=$("$MIRROR" lease check bot --self "$node" --json); then
            epoch=$(expr "$said" : '.*"epoch":\([0-9]*\)')
            [ "${under:=$epoch}" = "$epoch" ] || exit
            until=$((began + ${VALID_MS:?} * 1000000))
        fi
        now=$(date +%s%N)
        [ "$now" -lt "$until" ] || exit
        echo "$now $node $under" >>"$dir/beats"
        sleep 0.02
    done
    ;;
esac
