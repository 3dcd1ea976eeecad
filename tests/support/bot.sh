#!/bin/sh
# bot.sh DIR VERB: a service that is one process on each node. NODE says which node this is.
# What was asked is logged; what stands in DIR/NODE.VERB is done before.
dir=$1 verb=$2 node=${NODE:?}
pid_file=$dir/$node.pid
echo "$verb $node" >>"$dir/log"
# shellcheck disable=SC1090
if [ -f "$dir/$node.$verb" ]; then . "$dir/$node.$verb"; fi

runs() {
    # Its number can be another process's by now, and what has ended has no command line.
    read -r pid 2>/dev/null <"$pid_file" && grep -qa 'sleep\|bot\.sh' "/proc/$pid/cmdline" 2>/dev/null
}

case $verb in
status) runs ;;
start)
    runs && exit
    setsid sleep 3600 </dev/null >/dev/null 2>&1 &
    echo $! >"$pid_file"
    ;;
stop)
    if runs; then kill -9 "$pid"; fi
    rm -f "$pid_file"
    ;;
esac
