#!/bin/sh
# $1: status, start or stop of the service, which runs under `mirror hold`. A start ends when the
# service runs, and fails when hold ends instead.
alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }
runs() { read -r pid 2>/dev/null </run/bot.pid && alive "$pid"; }
held() { read -r hold 2>/dev/null </run/hold.pid && alive "$hold"; }

if [ "$1" = status ]; then
    runs
    exit
fi
exec 9>/run/bot.turn
flock 9
case $1 in
start)
    [ ! -e /root/no-start ] || exit 1
    runs && exit
    setsid mirror hold bot -- /run/lab/bin/lab --lab-beat </dev/null >>/root/log/hold 2>&1 9>&- &
    hold=$!
    echo "$hold" >/run/hold.pid
    while alive "$hold"; do
        runs && exit
        sleep 0.005
    done
    # It ended before the service ran: its status says why.
    wait "$hold"
    exit
    ;;
stop)
    ! held || kill "$hold"
    for _ in $(seq 300); do
        held || runs || exit 0
        sleep 0.005
    done
    ! held || kill -9 "$hold"
    while runs; do
        kill -9 "$pid" 2>/dev/null
        sleep 0.005
    done
    ;;
esac
