#!/usr/bin/env bash
# All tests: tests/run.sh BIN, where BIN is the bin folder of a virtual environment (make test calls it).
# ruff first, then whether the notebooks are clean and the package is in sync with them. Then every notebook is executed,
# and beside that tests/ runs by pytest, each on half of the cores. The last line counts all of them together.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
export PATH="$bin:$PATH" MPLBACKEND=Agg PYTHONWARNINGS=ignore
export OMP_NUM_THREADS=$(( ($(getconf _NPROCESSORS_ONLN)+1)/2 ))
passed=0 failed=0 skipped=0 log=$(mktemp -d)
python -m pytest -q -rs tests >"$log/pytest" 2>&1 &
pytest=$!
trap 'kill $pytest 2>/dev/null; rm -rf "$log"' EXIT

check() {  # check NAME COMMAND...: one test
    local name=$1; shift
    if "$@" >"$log/out" 2>&1; then passed=$((passed+1)); echo "ok    $name"
    else failed=$((failed+1)); echo "FAIL  $name"; tr '\r' '\n' <"$log/out" | tail -40; fi
}

# A copy is cleaned and exported, and must come out as it stands here
in_sync() {
    mkdir "$log/copy" &&
    git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - 2>/dev/null | tar -xf - -C "$log/copy" &&
    (cd "$log/copy" && nbdev-clean && nbdev-export) &&
    diff -r -x __pycache__ -x .ipynb_checkpoints nbs "$log/copy/nbs" &&
    diff -r -x __pycache__ maca_net "$log/copy/maca_net"
}
readme() { nbs/readme.sh "$bin" --check; }

check 'lint' ruff check .
check 'notebooks clean, package in sync' in_sync
check 'README.md is nbs/index.ipynb' readme
for nb in nbs/*.ipynb; do check "$nb" bash -c "cd nbs && nbdev-test $(basename "$nb")"; done

kill -0 $pytest 2>/dev/null && echo '...   tests/ by pytest are still running'
wait $pytest
cat "$log/pytest"
summary=$(tail -1 "$log/pytest")
count() { echo "$summary" | grep -oE "[0-9]+ $1" | grep -oE '[0-9]+' || echo 0; }
errors=$(count error)
passed=$((passed+$(count passed))) failed=$((failed+$(count failed)+errors)) skipped=$((skipped+$(count skipped)))
grep -qE '[0-9]+ (passed|failed|error)' "$log/pytest" || { echo 'FAIL  pytest did not run'; failed=$((failed+1)); }

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
