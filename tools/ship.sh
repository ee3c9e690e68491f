#!/bin/sh
# Test what ships: the wheel that was built from the source distribution, in an environment that
# has never seen the sources. Called by `make ship`, after `make build`.
set -eu
venv=.venv-ship
python="$PWD/$venv/bin/python"
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }
install --upgrade "pip>=25.1"
install "${TORCH:-torch==2.13.0}"
install "$(echo dist/*.whl)[qdrant]" pytest

away=$(mktemp -d)
trap 'rm -rf "$away" "$venv"' EXIT
cp tests/shipped.py "$away/test_shipped.py"
cd "$away"
"$python" -P -m pytest -q --strict-markers -W error -p no:cacheprovider test_shipped.py
