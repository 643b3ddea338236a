#!/bin/sh
# Installs the reference for chat templates and tokenizers from PyPI into .cache/, for the tests that compare with it.
# A missing Python or network fails in CI; elsewhere it is said, and the tests that need it skip themselves loudly.
set -u
cd "$(dirname "$0")/.."
packages="jinja2==3.1.6 tokenizers==0.22.2"
venv=.cache/reference-1
[ -f "$venv/complete" ] && exit 0
fail() {
  echo "install-reference: $1" >&2
  [ -n "${CI:-}" ] && exit 1
  exit 0
}
mkdir -p .cache
python3 -m venv "$venv" || fail "python3 -m venv does not work; install python3-venv to compare with the reference"
# shellcheck disable=SC2086
"$venv/bin/pip" install -q --disable-pip-version-check $packages || fail "$packages could not be installed"
"$venv/bin/python" -c 'import jinja2, tokenizers' || fail "$packages cannot be loaded"
touch "$venv/complete"
echo "reference: $packages"
