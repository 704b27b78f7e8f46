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

endpoint_field() { sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' "$dir/endpoint.json" 2>/dev/null || true; }
ready() { curl -fsS -o /dev/null --max-time 5 "http://$1/readyz" 2>/dev/null; }
running() {
    local pid
    pid=$(endpoint_field pid)
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && ready "$(endpoint_field admin)"
}
port_taken() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

stop_node() { # what to say of it when it has stopped
    local pid
    pid=$(endpoint_field pid)
    if [ -z "$pid" ] || ! kill -0 "$pid" 2>/dev/null; then
        echo "$me: no node is running in $dir"
        return 0
    fi
    kill -TERM "$pid"
    for ((i = 0; i < 600; i++)); do
        if ! kill -0 "$pid" 2>/dev/null; then
            echo "$me: the node of $dir has stopped; $1"
            return 0
        fi
        sleep 0.1
    done
    die "process $pid has not ended within 60 s; its log: $log"
}

