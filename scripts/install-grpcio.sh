#!/bin/sh
# Installs Python's gRPC client from PyPI into .cache/, for the tests of the ext_proc port.
# A missing Python or network fails in CI; elsewhere it is said, and the tests that need it skip themselves loudly.
set -u
cd "$(dirname "$0")/.."
package="grpcio==1.76.0"
venv=.cache/grpcio-1.76.0
[ -f "$venv/complete" ] && exit 0
fail() {
  echo "install-grpcio: $1" >&2
  [ -n "${CI:-}" ] && exit 1
  exit 0
}
mkdir -p .cache
python3 -m venv "$venv" || fail "python3 -m venv does not work; install python3-venv to test with Python's client"
"$venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$package" || fail "$package could not be installed"
"$venv/bin/python" -c 'import grpc' || fail "$package cannot be loaded"
touch "$venv/complete"
echo "grpcio: $package"
