# What runs on a node, for every login: POSIX sh, nothing else. Comments and indentation are not sent.
#
# File descriptor 3 is the connection, on which nothing more comes than its end; 4 takes the marked lines.
# Before this come the nonce in two halves, m_a and m_b, and whether file descriptor 3 first has to show
# that it is the connection, m_live. After it come the commands, m_q0 (status) and m_c0 (start or stop),
# and so on, m_start, which starts the requests, and m_timer, which ends them.
m_nl='
'

# Prints a marked line. The nonce is nowhere else in one piece, so no echo of the program is taken for it.
m_put() {
    printf '\n%s%s %s\n' "$m_a" "$m_b" "$*" >&4
}

# Runs a command apart from the session, so that its group can be ended without ending ours.
m_apart() {
    if command -v setsid >/dev/null 2>&1; then setsid sh -c "$1"; else sh -c "$1"; fi
}

# Runs status; m_s is what it exited with.
m_ask() {
    "m_q$1"
    m_s=$?
    m_put "$1 status $m_s"
}

# Runs start or stop; m_s is what it exited with, empty when it was ended. It is over when the command
# itself has exited, whatever a daemon that it left behind does with its output.
m_act() {
    m_put "$1 acts"
    m_s=$({
        {
            "m_c$1" </dev/null 2>&1 >/dev/null 3<&- 4>&- 5>&-
            echo $? >&5
        } | { m_said "$1" & } 6<&0
    } 5>&1)
    m_put "$1 act $m_s"
}

# Runs the command before start or status, where there is one. Its first line is passed on, and whatever
# comes of it, the other one follows.
m_before() {
    [ -n "$2" ] || return 0
    m_x=$("m_b$1" </dev/null 2>/dev/null 3<&- 4>&-)
    m_put "$1 before $? ${m_x%%"$m_nl"*}"
}

# Passes on the first line of what comes, and takes the rest for as long as anything comes, since a
# writer without a reader is ended. dd gives each piece at once, and `read` of a line without an end
# would take all memory.
m_said() {
    exec <&6 >/dev/null 2>&1 3<&- 5>&- 6<&-
    trap '' PIPE
    m_x=
    for m_w in 1 2 3 4 5 6 7 8; do
        m_y=$(dd bs=4000 count=1 4>&- && echo .)
        m_x=$m_x${m_y%.}
        while :; do
            case $m_x in
            "$m_nl"*) m_x=${m_x#"$m_nl"} ;;
            *"$m_nl"*) break 2 ;;
            *) break ;;
            esac
        done
        case $m_y in . | '') break ;; esac
    done
    m_put "$1 said ${m_x%%"$m_nl"*}"
    exec 4>&-
    read -r m_x && exec cat
}

# Whether the last status is the wanted one. From 126 on a status is none of the command's own.
m_is() {
    case $1 in
    running) [ "$m_s" -eq 0 ] ;;
    *) [ "$m_s" -gt 0 ] && [ "$m_s" -lt 126 ] ;;
    esac
}

# Asks until the status is the wanted one.
m_until() {
    for m_w in 0.01 0.02 0.04 0.08 0.16; do
        m_ask "$2"
        m_is "$1" && return
        sleep "$m_w" 2>/dev/null || sleep 1 || return
    done
    while m_ask "$2" && ! m_is "$1"; do
        sleep 0.25 2>/dev/null || sleep 1 || return
    done
}

# Carries out a request.
m_do() {
    case $2 in
    status)
        m_before "$1" "$3"
        m_ask "$1"
        ;;
    start)
        m_ask "$1"
        if m_is stopped; then
            m_before "$1" "$3"
            m_act "$1"
            # It may run all the same: started before, or by a command that does not know how it went.
            if [ "$m_s" = 0 ]; then m_until running "$1"; else m_ask "$1"; fi
        fi
        ;;
    stop)
        m_act "$1"
        m_until stopped "$1"
        ;;
    *) m_until "$2" "$1" ;;
    esac
    m_put "$1 end"
}

# Lists all processes as parent:process. A shell that read these files would do so byte by byte, and sed,
# unlike cat, reads no further after a file that cannot be read, such as that of a process which ends then.
m_list() {
    if [ -r /proc/self/stat ]; then
        cat /proc/[0-9]*/stat | sed -n 's/^\([0-9]*\) (.*) [A-Za-z] \([0-9]*\) .*/\2:\1/p'
    else
        ps -A -o ppid= -o pid= | while read -r m_l m_f; do echo "$m_l:$m_f"; done
    fi
}

# Sends a signal to processes, and to the groups that they lead.
m_signal() {
    m_x=$1
    shift
    for m_p in "$@"; do
        kill -s "$m_x" "$m_p"
        kill -s "$m_x" -- "-$m_p"
    done
}

# Ends all that descends from these requests, and with `all` themselves. Each process is stopped when it
# is found, so that none gets away by a fork. A request that has ended is passed over: its number may be
# another's. A group that loses its last parent while a member is stopped gets a SIGHUP from the kernel.
m_end() {
    trap '' TERM HUP
    trap m_gone=1 USR1
    m_how=$1
    shift
    m_roots=" $* " m_found=' ' m_ends='' m_more=1
    while [ -n "$m_more" ]; do
        m_more=
        for m_w in $(m_list); do
            m_p=${m_w#*:} m_q=${m_w%:*}
            case $m_found in
            *" $m_p "*) continue ;;
            *" $m_q "*) m_y=all ;;
            *)
                m_y=$m_how
                case $m_q:$m_roots in "$$:"*" $m_p "*) ;; *) continue ;; esac
                ;;
            esac
            m_found="$m_found$m_p " m_more=1
            if [ "$m_y" = all ]; then
                kill -s STOP "$m_p"
                m_ends="$m_ends $m_p"
            fi
        done
    done
    # shellcheck disable=SC2086 # a list of numbers
    {
        m_signal TERM $m_ends
        m_signal CONT $m_ends
        sleep 0.05 || sleep 1
        m_signal KILL $m_ends
    }
    trap - TERM HUP
} 2>/dev/null

# Sleeps so many seconds, or where sleep knows no fractions so many whole ones.
m_nap() {
    m_x=$!
    # A signal can come between the start of sleep and an assignment of its number. Until sleep is its own
    # program, it may miss any other than KILL: the shell resets its traps a moment after the fork.
    trap '[ "$!" = "$m_x" ] || kill -s KILL "$!"; exit' TERM USR1
    [ -z "$m_gone" ] || exit
    for m_w in "$@"; do
        sleep "$m_w" 4>&- &
        wait "$!" && return
    done
} 2>/dev/null

# Waits for the end of the connection, and ends everything.
m_watch() {
    exec <&3 3<&- 4>&-
    if [ -n "$m_live" ]; then
        read -r m_x
        [ "$m_x" = "$m_live" ] || exit
    fi
    while read -r m_x; do :; done
    # shellcheck disable=SC2086 # a list of numbers
    m_end all $m_jobs
}

# Ends what watches over the requests, and the program. By a signal that has no trap here, or one that has
# just been forked could miss it.
m_over() {
    trap '' HUP INT TERM
    kill -s USR1 "$m_t" "$m_r" 2>/dev/null
    exit 0
}

m_main() {
    if { :; } 3<&0; then exec 3<&0; else exec 3</dev/null; fi 2>/dev/null
    exec 4>&1 </dev/null >/dev/null
    [ -z "$m_single" ] || echo "$m_a$m_b" >&2
    m_jobs='' m_t='' m_r='' m_gone=''
    # shellcheck disable=SC2086 # a list of numbers
    trap 'm_end all $m_jobs; m_over' HUP INT TERM
    m_put hello
    m_start
    m_timer &
    m_t=$!
    m_watch &
    m_r=$!
    for m_p in $m_jobs; do wait "$m_p"; done 2>/dev/null
    m_over
}
