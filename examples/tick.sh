#!/bin/sh
# The tick of a service with `guard = "tick"`: stops it on this node unless its lease names the node.
#
#   CHECK_INTERVAL=5 MIRROR_SELF=moscow sh tick.sh bot systemctl stop juno
#
# Run it on every node, beside watchdog.sh, under something that starts it anew whenever it ends. After
# the service's name comes the command that stops it here. It is run at every tick at which the lease
# names another node, nobody, or cannot be read; so it has to be one that may be run at any time. From
# the environment it takes
#
#   CHECK_INTERVAL  seconds from the start of one tick to the start of the next (5)
#   CHECK_TIMEOUT   seconds after which a read that was not answered is a no (1)
#   MIRROR_CONFIG   the node list; unless set, mirror looks for one itself
#   MIRROR_SELF     the node this is; unless set, mirror finds that out by the machine's addresses
#
# Another node starts the service `valid` and `grace` after the lease has ceased to name this one. By
# then this one has read it once more and has stopped the service, as long as CHECK_INTERVAL is
# `cycle.check`, the command takes no longer than the service's `timeout`, and CHECK_TIMEOUT is no longer
# than `grace`: `mirror chain check` sees to it that `valid` is longer than the first two together.
# Whoever freezes this script alone leaves the service without a guard; `mirror hold` has no such gap.
#
# TERM, INT or HUP stops the service and ends it, since nobody would look after it any more.

CHECK_INTERVAL=${CHECK_INTERVAL:-5}
CHECK_TIMEOUT=${CHECK_TIMEOUT:-1}

if [ $# -lt 2 ]; then
    echo "usage: tick.sh SERVICE STOP-COMMAND [ARGUMENT...]" >&2
    exit 2
fi
service=$1
shift

checking='' pause=''
end() {
    trap '' TERM INT HUP
    # shellcheck disable=SC2086 # what is unset is no argument
    kill $checking $pause 2>/dev/null
    "$@"
    exit 0
}
trap 'end "$@"' TERM INT HUP

while :; do
    sleep "$CHECK_INTERVAL" &
    pause=$!
    timeout "$CHECK_TIMEOUT" mirror --quiet lease check "$service" >/dev/null &
    checking=$!
    wait "$checking" || "$@"
    wait "$pause"
done
