#!/bin/sh
# The watchdog cycle of one node: every CHECK_INTERVAL a check, every SYNC_INTERVAL a breath.
#
#   MIRROR_CONFIG=/etc/mirror/mirror.toml MIRROR_SELF=moscow sh watchdog.sh >>/var/log/mirror.jsonl
#
# Run it on every node, as whoever may log in to the others and control the services. From the
# environment it takes
#
#   CHECK_INTERVAL  seconds from the start of one check to the start of the next (5)
#   SYNC_INTERVAL   the same for breaths (12)
#   MIRROR_CONFIG   the node list; unless set, mirror looks for one itself
#   MIRROR_SELF     the node this is; unless set, mirror finds that out by the machine's addresses
#
# Intervals may be fractions where `sleep` takes them, as those of GNU, BSD and busybox do. They
# are this script's alone: keep them as `cycle.check` and `cycle.sync` stand in the node list, or
# the budget that `mirror chain check` adds up is not the one that is kept.
#
# On stdout stands what mirror says: one line of JSON for a step, written at once, so that the lines
# of checks and breaths do not mix. stderr tells when steps begin to fail, and when they are well
# again. TERM, INT or HUP ends it at once with status 0, and with it all that it started; a step that
# is broken off is made good by the next.

CHECK_INTERVAL=${CHECK_INTERVAL:-5}
SYNC_INTERVAL=${SYNC_INTERVAL:-12}

say() {
    echo "watchdog: $*" >&2
}

awk 'BEGIN { exit }' || exit 2
for interval in "$CHECK_INTERVAL" "$SYNC_INTERVAL"; do
    case $interval in
    '' | . | *[!0-9.]* | *.*.*) interval=0 ;;
    esac
    case $interval in
    *[1-9]*) ;;
    *)
        say "CHECK_INTERVAL and SYNC_INTERVAL are numbers of seconds greater than 0, such as 5 or 0.5"
        exit 2
        ;;
    esac
    case $interval in
    *.*) sleep 0.001 || exit 2 ;;
    esac
done

# Everything runs in the background and is waited for, since a shell acts on a signal at once only
# while it waits. $! is the latest child, whose id may not have been kept yet.
end() {
    trap '' TERM INT HUP
    # Twice, since a child that was only just forked may still have had this shell's traps.
    # shellcheck disable=SC2086 # what is unset is no argument
    kill $breathing $step $! 2>/dev/null
    sleep 0.05
    # shellcheck disable=SC2086
    kill $breathing $step $! 2>/dev/null
    wait
    exit 0
}

# Says on stderr what the status of a step means, when it is not what it was before.
tell() {
    case $2 in
    # Yes, or a definite no: in both cases it is known how things stand, and mirror has said it.
    0 | 1) now=known ;;
    # Anything else is unknown, be it mirror's own 3 or a signal, a crash, a program that is missing.
    # Whatever is done on a no must not be done then. Here that is nothing: the next step asks again.
    *) now="unknown (status $2); trying again every $3 s" ;;
    esac
    [ "$now" = "${before:-known}" ] || say "$1: $now"
    before=$now
}

# every INTERVAL NAME COMMAND...: one step after another, never two at once. A step keeps to the pace
# itself: it ends no sooner than INTERVAL after its start, and when it takes longer, the next follows
# at once.
every() {
    interval=$1 name=$2
    shift 2
    pace=$(awk -v seconds="$interval" 'BEGIN { printf "%.0fns", seconds * 1e9 }')
    # The loop of breaths is a process of its own, and has to end with the script.
    while kill -0 $$ 2>/dev/null; do
        "$@" --pace "$pace" &
        step=$!
        wait "$step"
        status=$?
        step=
        tell "$name" "$status" "$interval"
        case $status in
        0 | 1 | 3) ;;
        # Whatever ended it so may have done so at once.
        *)
            sleep "$interval" &
            wait $!
            ;;
        esac
    done
}

breathing='' step=''
trap end TERM INT HUP

# Beside the checks and never in their way: a git remote may hang for as long as it likes.
{
    breathing=''
    trap end TERM
    every "$SYNC_INTERVAL" breathe mirror breathe --json
} &
breathing=$!

# Asks who the brain is, and if it is this node, makes every service run where it belongs: both by
# the same look, so that nothing can change in between.
every "$CHECK_INTERVAL" check mirror promote --if-brain --json
