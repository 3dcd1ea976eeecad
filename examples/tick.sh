#!/bin/sh
# The tick of a service with `guard = "tick"`: stops it on this node unless its lease names the node.
#
#   CHECK_INTERVAL=5 MIRROR_SELF=moscow sh tick.sh bot systemctl stop juno
#
# Run it on every node, beside watchdog.sh, under something that restarts it whenever it ends. The words
# after the service's name are the command that stops it here. It runs at every tick at which the lease
# names another node or no node, or cannot be read; so it must be safe to run at any time. Environment:
#
#   CHECK_INTERVAL  seconds from the start of one tick to the start of the next (5)
#   CHECK_TIMEOUT   seconds after which an unanswered read counts as a no (1)
#   MIRROR_CONFIG   the node list; if unset, mirror looks for it
#   MIRROR_SELF     this node; if unset, mirror finds it by the machine's addresses
#
# Another node starts the service `valid` and `grace` after the lease has stopped naming this node. By
# then this script has read the lease once more and stopped the service, provided that CHECK_INTERVAL is
# `cycle.check`, the command takes no longer than the service's `timeout`, and CHECK_TIMEOUT is no longer
# than `grace`. `mirror chain check` verifies that `valid` is longer than the first two together.
# If this script alone is frozen, the service has no guard; `mirror hold` has no such gap.
#
# TERM, INT or HUP stops the service and ends the script, because nothing would guard the service then.

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
    # shellcheck disable=SC2086 # an unset variable must be no argument
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
