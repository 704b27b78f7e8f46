# What the scripts here share; sourced from the checkout's root. The script sets `me`, its name, and `steps`, how many it has; `dir` is the
# directory of the node that is meant.

die() { printf '\n%s: %s\n' "$me" "$*" >&2; exit 1; }

# ---- saying what happens, and how long it took ----

step_number=0 step_started=0
step() {
    step_number=$((step_number + 1)) step_started=$SECONDS
    printf '\n[%d/%d] %s\n' "$step_number" "$steps" "$*"
}
say() { printf '      %s\n' "$*"; }
did() { say "$* ($((SECONDS - step_started)) s)"; step_started=$SECONDS; }
show() { sed 's/^/        /'; }
mib() { echo $(($1 / 1024 / 1024)); }

# ---- building ----

build_sluice() {
    [ -e build/build.ninja ] || meson setup build >build.log.tmp 2>&1 || { tail -15 build.log.tmp | show >&2; die "meson failed; see build.log.tmp"; }
    rm -f build.log.tmp
    ninja -C build server/sluiced tools/sluice >build/quickstart.log 2>&1 ||
        { grep -E -m 20 'error|FAILED' build/quickstart.log | show >&2; die "the build failed; its log: build/quickstart.log"; }
}

# ---- a node ----

# The process that serves $dir, nothing if none does, by its command line. The endpoint file cannot tell: a node that is starting or stopping has
# none, a killed one leaves it with a number that may be another program's by now. A killed one whose parent has not asked for its end yet has
# a number still, but no command line. One that is being started is setsid and nohup first, under the same number.
node_pid() {
    local process name word words
    for process in /proc/[0-9]*; do
        { read -r name <"$process/comm" && [[ $name =~ ^(sluiced|setsid|nohup)$ ]] && mapfile -d '' words <"$process/cmdline"; } 2>/dev/null || continue
        for word in "${words[@]:1}"; do
            [[ $word == /* ]] || word=$process/cwd/$word
            if [ "$word" -ef "$dir" ]; then
                echo "${process#/proc/}"
                return
            fi
        done
    done
}
endpoint_field() { # nothing when no node has written the file
    local text
    if text=$(cat "$dir/endpoint.json" 2>/dev/null); then
        sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' <<<"$text"
    fi
}
gone() { ! grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null; }
ready() { curl -fsS -o /dev/null --max-time 5 "http://$1/readyz" 2>/dev/null; }
running() {
    local pid
    pid=$(node_pid)
    [ -n "$pid" ] && [ "$pid" = "$(endpoint_field pid)" ] && ready "$(endpoint_field admin)"
}
port_taken() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

# Asks again and again, by the clock: an answer may take its time.
within() { # seconds, the question
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

ready_or_gone() { running || gone "$1"; }
wait_ready() { # its process, its name
    within 120 ready_or_gone "$1" ||
        die "$2 is not ready after two minutes: $(curl -sS --max-time 5 "http://$(endpoint_field admin)/readyz" 2>&1); its log: $log"
    gone "$1" || return 0
    tail -n 15 "$log" | show >&2
    die "$2 did not start; what it said is above and in $log"
}

stop_node() { # what to say of it when it has stopped
    local pid
    pid=$(node_pid)
    if [ -z "$pid" ]; then
        echo "$me: no node is running in $dir"
        return 0
    fi
    kill -TERM "$pid" 2>/dev/null || gone "$pid" || die "process $pid, which serves $dir, is another user's: stop it as that user"
    within 60 gone "$pid" || die "process $pid has not ended within 60 s; its log: $log"
    echo "$me: the node of $dir has stopped; $1"
}

