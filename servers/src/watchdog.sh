# Starts a server so that it ends with the process that started it, however that process ends.
#
#   sh -c THIS name signal timeout command...
#
#   stdin   a folder to keep open for the server as descriptor 9 (or /dev/null)
#   stdout  the reading end of a pipe that the parent holds; the parent writes "ended" into it once it has
#           seen the server end. Without that word, the end of the pipe means that the parent is gone.
#   stderr  the server's log
#
# This shell becomes the server (exec), so that the parent's child is the server itself. The watchdog is an
# orphan by design: Postgres takes the end of a child it does not know for the crash of a backend.
set -u
exec 9<&0 3<&1 0</dev/null 1>&2

signal=$1
timeout=$2
shift 2

# When a process began, as proof that its number was not given to another one; empty once it has ended.
birth() {
    if [ -d /proc/self ]; then
        { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
        # The program's name in parentheses may hold blanks; what follows starts with field 3, the state.
        # shellcheck disable=SC2086 # to be split: fields are letters and numbers
        set -- ${line##*) }
        [ "$1" = Z ] || echo "${20}"
    else
        ps -o lstart= -p "$1"
    fi
}

server=$$
born=$(birth "$server")

watch() {
    trap '' HUP INT TERM
    exec 9<&- 1>/dev/null 2>&1
    if IFS= read -r word <&3 && [ "$word" = ended ]; then
        exit 0
    fi
    ticks=0
    while [ "$(birth "$server")" = "$born" ]; do
        if [ "$ticks" -eq 0 ]; then
            kill -s "$signal" "$server"
        elif [ "$ticks" -eq "$timeout" ]; then
            kill -s KILL "$server"
        elif [ "$ticks" -gt "$((timeout + 50))" ]; then
            exit 1
        fi
        ticks=$((ticks + 1))
        sleep 0.1
    done
}

(watch &)
exec 3<&-
exec "$@"
