#!/bin/sh
# The watchdog cycle of one node: every CHECK_INTERVAL a check, every SYNC_INTERVAL a breath.
#
#   MIRROR_CONFIG=/etc/mirror/mirror.toml MIRROR_SELF=moscow sh watchdog.sh >>/var/log/mirror.jsonl
#
# Run it on every node, as a user that may log in to the others and control the services. Environment:
#
#   CHECK_INTERVAL  seconds from the start of one check to the start of the next (5)
#   SYNC_INTERVAL   the same for breaths (12)
#   NOTIFY_INTERVAL the same for telling the receivers of [notify]; if unset, nobody is told
#   MIRROR_CONFIG   the node list; if unset, mirror looks for it
#   MIRROR_SELF     this node; if unset, mirror finds it by the machine's addresses
#
# Intervals may be fractions if `sleep` accepts them, as in GNU, BSD and busybox. Only this script knows
# them: keep them equal to `cycle.check` and `cycle.sync` in the node list, or the budget that `mirror
# chain check` adds up is wrong.
#
# Arguments are passed on to each step. With --changes-only the log grows by what changes, and not by a line
# for each check and breath.
#
# stdout has mirror's own output: one line of JSON for each step, written at once, so that the lines of
# checks and breaths do not mix. stderr tells when steps begin to fail, and when they succeed again. TERM,
# INT or HUP ends the script at once with status 0, and everything that it started; the next step finishes
# what an interrupted one left.

CHECK_INTERVAL=${CHECK_INTERVAL:-5}
SYNC_INTERVAL=${SYNC_INTERVAL:-12}
NOTIFY_INTERVAL=${NOTIFY_INTERVAL:-}

say() {
    echo "watchdog: $*" >&2
}

awk 'BEGIN { exit }' || exit 2
for interval in "$CHECK_INTERVAL" "$SYNC_INTERVAL" "${NOTIFY_INTERVAL:-1}"; do
    case $interval in
    '' | . | *[!0-9.]* | *.*.*) interval=0 ;;
    esac
    case $interval in
    *[1-9]*) ;;
    *)
        say "CHECK_INTERVAL, SYNC_INTERVAL and NOTIFY_INTERVAL are numbers of seconds greater than 0, such as 5 or 0.5"
        exit 2
        ;;
    esac
    case $interval in
    *.*) sleep 0.001 || exit 2 ;;
    esac
done

# Run everything in the background and wait for it: a shell acts on a signal at once only while it waits.
# $! is the latest child, whose id may not be in a variable yet.
end() {
    trap '' TERM INT HUP
    # Twice, because a child that was just forked may still have had this shell's traps.
    # shellcheck disable=SC2086 # an unset variable must be no argument
    kill $breathing $telling $step $! 2>/dev/null
    sleep 0.05
    # shellcheck disable=SC2086
    kill $breathing $telling $step $! 2>/dev/null
    wait
    exit 0
}

# Says on stderr what the status of a step means, when that has changed.
tell() {
    case $2 in
    # Yes, or a definite no: mirror knows the answer and has printed it.
    0 | 1) now=known ;;
    # Anything else is unknown: mirror's own 3, a signal, a crash, a missing program. Do nothing then that
    # you would do on a no. Here that is easy: the next step asks again.
    *) now="unknown (status $2); trying again every $3 s" ;;
    esac
    [ "$now" = "${before:-known}" ] || say "$1: $now"
    before=$now
}

# every INTERVAL NAME COMMAND...: one step after another, never two at once. The step itself keeps the
# pace: it ends no sooner than INTERVAL after its start; when it takes longer, the next one follows at
# once.
every() {
    interval=$1 name=$2
    shift 2
    pace=$(awk -v seconds="$interval" 'BEGIN { printf "%.0fns", seconds * 1e9 }')
    # The loop of breaths is a process of its own and must end with the script.
    while kill -0 $$ 2>/dev/null; do
        "$@" --pace "$pace" &
        step=$!
        wait "$step"
        status=$?
        step=
        tell "$name" "$status" "$interval"
        case $status in
        0 | 1 | 3) ;;
        # It may have failed at once, so wait before the next.
        *)
            sleep "$interval" &
            wait $!
            ;;
        esac
    done
}

breathing='' telling='' step=''
trap end TERM INT HUP

# Breaths run beside the checks and never delay them: a git remote may hang for as long as it likes.
{
    breathing=''
    trap end TERM
    every "$SYNC_INTERVAL" breathe mirror breathe --json "$@"
} &
breathing=$!

# A receiver may be away for an hour; it gets everything afterwards.
if [ -n "$NOTIFY_INTERVAL" ]; then
    {
        breathing='' telling=''
        trap end TERM
        every "$NOTIFY_INTERVAL" notify mirror notify --json
    } &
    telling=$!
fi

# Finds the brain, and if it is this node, makes every service run where it belongs. One probe serves both,
# so that nothing can change in between.
every "$CHECK_INTERVAL" check mirror promote --if-brain --json "$@"
