#!/bin/sh
# Installs packages from PyPI into .cache/NAME, for tests: install-python.sh NAME MODULES PACKAGE...
# A missing Python or network fails in CI; elsewhere it is said, and the tests that need them skip themselves loudly.
set -u
cd "$(dirname "$0")/.."
name=$1
modules=$2
shift 2
venv=.cache/$name
[ -f "$venv/complete" ] && exit 0
fail() {
  echo "install-python $name: $1" >&2
  [ -n "${CI:-}" ] && exit 1
  exit 0
}
mkdir -p .cache
python3 -m venv "$venv" || fail "python3 -m venv does not work; install python3-venv for the tests that need $*"
"$venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$@" || fail "$* could not be installed"
"$venv/bin/python" -c "import $modules" || fail "$modules cannot be loaded"
touch "$venv/complete"
echo "$name: $*"
