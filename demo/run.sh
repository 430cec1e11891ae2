#!/usr/bin/env bash
# The demonstration: programs that know nothing of pagemesh share memory across three nodes. Run by `make demo` as
#
#   pagemesh dev --nodes 3 --region dictionary=1Mi --region counters=1Mi --region words=64Mi -- demo/run.sh
#
# which names the mesh by PAGEMESH_DIR. DEMO_PROGRAMS: where the programs of demo/*.c are, if they are built already.
# Exits 0 only if every check held.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
held() { say "   ok: $*"; }
failed() {
    say "   FAILED: $*"
    failures=$((failures + 1))
}

# start LABEL NODE COMMAND...: starts it on a node; what it says goes to a file of that label.
pids=()
labels=()
start() {
    local label=$1 node=$2
    shift 2
    pagemesh run --node "$node" -- "$@" >"$scratch/$label" 2>&1 &
    pids+=($!)
    labels+=("$label")
}

# Waits for all that were started, and shows what they said. Fails if one of them did.
finish() {
    local i ok=0
    for i in "${!pids[@]}"; do
        if ! wait "${pids[$i]}"; then
            ok=1
        fi
        sed "s/^/   ${labels[$i]}: /" "$scratch/${labels[$i]}"
    done
    pids=()
    labels=()
    return $ok
}

programs=${DEMO_PROGRAMS:-}
if [ -z "$programs" ]; then
    programs=$scratch
    for source in "$here"/*.c; do
        "${CC:-cc}" -std=c11 -O2 -pthread -o "$programs/$(basename "$source" .c)" "$source"
    done
fi

step "1. Three nodes on this machine, joined by TCP only, and their regions"
pagemesh get nodes
pagemesh get regions

step "2. One dictionary: five Python workers on three nodes, each storing index -> index * 2 (demo/dictionary.py)"
for index in 0 1 2 3 4; do
    start "dictionary-$index" $((index % 3)) "$python" "$here/dictionary.py" dictionary "$index" 5 "$$"
done
expected='{0: 0, 1: 2, 2: 4, 3: 6, 4: 8}'
if finish && [ "$(sort "$scratch"/dictionary-* | uniq -c | tr -s ' ')" = " 5 $expected" ]; then
    held "all five saw the same dictionary"
else
    failed "the five should each have printed $expected"
fi

step "3. One counter: six processes on three nodes, 10,000 additions each, then the same under a lock (demo/counter.c)"
pagemesh run --node 0 -- "$programs/counter" counters reset
for process in 0 1 2 3 4 5; do
    start "counter-$process" $((process % 3)) "$programs/counter" counters 6
done
if finish; then
    held "nothing was lost: exactly 60,000, twice"
else
    failed "both counts should be 60,000"
fi

step "4. One hash table: node 0 builds it of the words of this repository, nodes 1 and 2 look all of them up (demo/words.c)"
find "$here/.." -path '*/target' -prune -o -path '*/.git' -prune -o \
    -type f \( -name '*.md' -o -name '*.rs' -o -name '*.c' -o -name '*.py' \) -print0 |
    sort -z | xargs -0 cat >"$scratch/text"
say "   the text has $(wc -c <"$scratch/text") bytes"
start "node-0" 0 "$programs/words" words build "$scratch/text"
if finish; then
    start "node-1" 1 "$programs/words" words check "$scratch/text"
    start "node-2" 2 "$programs/words" words check "$scratch/text"
    if finish; then
        held "both found every word, as often as they had counted themselves, and the text"
    else
        failed "nodes 1 and 2 should have found every word"
    fi
else
    failed "node 0 could not build the table"
fi

step "5. What that took: faults of all nodes by kind, and messages between them"
pagemesh get stats

if [ "$failures" -gt 0 ]; then
    step "$failures of 3 checks FAILED"
    exit 1
fi
step "Every check held."
