#!/usr/bin/env bash
# tests/Models/run.sh [--install] [--spin FILE] [--trail] [NAME...]: runs the cases of cases.txt of these names (none: all) with spin and a C compiler.
#   --install      installs both by apt first, which needs root
#   --spin FILE    the program to use; else the one on the PATH
#   --trail        prints the steps to each error that is found
# One line a case: "NAME: HOLDS, N states, N errors, N s" or "NAME: FAILS, ...". The exit code is 0 if each did what its line in cases.txt says and
# no search was cut short. A case gets at most 1 GB and 120 s; on an idle machine each takes less than 60 s.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
spin="$(command -v spin || true)" trail=""

while [ $# -gt 0 ]; do
    case "$1" in
        --install) apt-get update -qq && apt-get install -qq -y spin gcc libc6-dev || exit 2; spin="$(command -v spin)" ;;
        --spin) spin="$(realpath "$2")"; shift ;;
        --trail) trail=1 ;;
        *) break ;;
    esac
    shift
done
[ -x "$spin" ] || { echo "there is no spin: --install installs it" >&2; exit 2; }
command -v cc > /dev/null || { echo "there is no C compiler" >&2; exit 2; }
spin="$(realpath -s "$spin")"

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# run NAME MODEL ASKED EXPECTED DEFINES...
run() {
    local name="$1" model="$2" asked="$3" expected="$4" at="$folder/$1" search=() how=() found states errors seconds
    shift 4
    mkdir -p "$at" && cd "$at" && cp "$here"/*.pml . || return
    case "$asked" in
        safety) how=(-DSAFETY) ;;
        progress) how=(-DNP -DNFAIR=3) search=(-l -f) ;;
        *) how=(-DNFAIR=3) search=(-a -f -N "$asked") ;;
    esac
    if ! { "$spin" -a "${@/#/-D}" "$model.pml" && cc -O0 -w -DCOLLAPSE -DMEMLIM=1000 "${how[@]}" -o pan pan.c; } > build 2>&1; then
        cat build
        echo "$name: could not be built"
        return 1
    fi
    timeout 120 ./pan -n -m3000000 "${search[@]}" > found 2>&1
    states="$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' found)"
    errors="$(sed -nE 's/.*errors: ([0-9]+)$/\1/p' found)"
    seconds="$(sed -nE 's/^pan: elapsed time ([0-9.]+) .*/\1/p' found)"
    if [ "${errors:-0}" != 0 ]; then
        found=fails
    elif [ -n "$errors" ] && ! grep -qE 'Search not completed|reached -DMEMLIM|error: max search depth' found; then
        found=holds
    else
        cat found
        found="cut short"
    fi
    echo "$name: ${found^^}, ${states:-0} states, ${errors:-?} errors, ${seconds:-?} s"
    if [ "$found" = fails ]; then
        grep -m 1 -E '^pan:[0-9]+: ' found
        [ -z "$trail" ] || ./pan -r -n "${search[@]}" | grep -v '^MSC:'
    fi
    [ "$found" = "$expected" ]
}

wanted=" $* " failed=0 ran=0
while read -r name model asked expected defines; do
    case "$name" in '' | '#'*) continue ;; esac
    [ $# -eq 0 ] || [[ "$wanted" == *" $name "* ]] || continue
    ran=$((ran + 1))
    run "$name" "$model" "$asked" "$expected" $defines || { echo "$name: expected: $expected"; failed=$((failed + 1)); }
    cd "$here" && rm -rf "${folder:?}/$name"
done < "$here/cases.txt"
echo "$ran cases, $failed not as expected"
[ "$failed" -eq 0 ] && [ "$ran" -gt 0 ]
