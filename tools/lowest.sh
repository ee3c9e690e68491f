#!/bin/sh
# All tests with the lowest allowed versions of the direct dependencies. Called by `make lowest`.
set -eu
venv=.venv-lowest
python="$PWD/$venv/bin/python"
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }
install --upgrade "pip>=25.1" packaging
"$python" tools/lowest.py "${TORCH:-torch==2.13.0}" > "$venv/constraints.txt"
install "${TORCH:-torch==2.13.0}"
install --constraint "$venv/constraints.txt" --editable ".[all]" --group dev
cat "$venv/constraints.txt"
OMP_NUM_THREADS=1 "$python" -P -m pytest --numprocesses 2
