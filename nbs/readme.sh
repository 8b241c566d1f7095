#!/usr/bin/env bash
# README.md from nbs/index.ipynb: nbs/readme.sh BIN, where BIN is the bin folder of a virtual environment.
# Links and pictures are named from the folder of README.md. With --check nothing is written, and the script fails where README.md differs.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
"$1/jupyter" nbconvert --log-level ERROR --to markdown --output-dir "$tmp" --output README nbs/index.ipynb
sed -i.all -e 's#](images/#](nbs/images/#g' -e 's#](\([^():]*\.ipynb\))#](nbs/\1)#g' -e 's#](\.\./#](#g' "$tmp/README.md"
if [ "${2:-}" = --check ]; then diff "$tmp/README.md" README.md; else cp "$tmp/README.md" README.md; fi
