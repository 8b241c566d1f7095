#!/usr/bin/env bash
# Collects in FOLDER all that `maca_lab gpu` needs on a machine with a GPU and Python with torch, but without internet:
#   scripts/travel.sh STORE FILE.pack FOLDER
# FOLDER gets the pack, the rows of STORE (so that finished runs are not run again), this commit as a wheel, and wheels
# of the packages that such a machine lacks. The variable PACKAGES names these, PYTHON_VERSION the Python version there.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# -eq 3 ] || { sed -n 2,5p "$0" >&2; exit 2; }
store=$1 pack=$2 to=$3
: "${PYTHON:=python3}" "${PYTHON_VERSION:=3.12}"
: "${PACKAGES:=fastai>=2.8.12,<2.9 fastcore>=2.2.39,<2.3 fastprogress>=1.1,<2 fastdownload fasttransform plum-dispatch beartype}"
[ ! -e "$to" ] || { echo "travel.sh: $to is there already: choose another folder" >&2; exit 2; }
[ -f "$pack" ] || { echo "travel.sh: $pack: there is no such file; maca_lab pack writes one" >&2; exit 2; }
mkdir -p "$to/wheels" "$to/store/rows"
cp "$pack" "$to/"
[ ! -d "$store/rows" ] || cp "$store"/rows/*.json "$to/store/rows/"

# the wheel of this commit, which its version names, as `code` of each row will
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
git -C "$here" archive HEAD | tar -xf - -C "$source"
commit=$(git -C "$here" rev-parse --short HEAD)
sed -i.bak -E "s/^version = (.*)$/version = \1+$commit/" "$source/settings.ini"
"$PYTHON" -m pip wheel -q --disable-pip-version-check --no-deps -w "$to/wheels" "$source"

platforms=()
for p in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do platforms+=(--platform "${p}_x86_64"); done
# shellcheck disable=SC2086  # one word a package
"$PYTHON" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
    --python-version "$PYTHON_VERSION" "${platforms[@]}" -d "$to/wheels" $PACKAGES

du -sk "$to"/* | awk '{print; n += $1} END {printf "%.1f MiB in all\n", n/1024}'
