#!/bin/sh
# Brings what the tests need beyond npm into .cache/, all of it at once; the scripts say what is missing, and fail in CI.
cd "$(dirname "$0")" || exit 1
pids=
for tool in envoy deploy-tools reference grpcio chromium nodes; do
  "./install-$tool.sh" &
  pids="$pids $!"
done
failed=0
for pid in $pids; do wait "$pid" || failed=1; done
exit $failed
