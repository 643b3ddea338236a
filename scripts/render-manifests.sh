#!/bin/sh
# Renders deploy/charts/endpoint-picker with each of its presets to deploy/manifests/ (or to the folder given), brings the
# files that the chart carries up to date, and writes what of deploy/ack/ and deploy/llm-d/ is rendered too.
set -eu
cd "$(dirname "$0")/.."
chart=deploy/charts/endpoint-picker
out=${1:-deploy}
helm=.cache/deploy-tools/bin/helm
[ -x "$helm" ] || { echo "render-manifests: $helm is missing; run scripts/install-deploy-tools.sh" >&2; exit 1; }

# release, namespace, values, file
render() {
  mkdir -p "$out/$(dirname "$4")"
  {
    echo "# Rendered by scripts/render-manifests.sh from $3; edit that, not this."
    echo "# kubectl apply -f deploy/$4"
    "$helm" template "$1" "$chart" -n "$2" -f "$3" | sed 's/[[:space:]]*$//'
  } >"$out/$4"
}

if [ "$out" = deploy ]; then
  cp config/scheduler-profiles.yaml "$chart/files/scheduler-profiles.yaml"
  cp deploy/envoy/bootstrap.yaml "$chart/files/envoy.yaml"
fi
for preset in llm-d istio gke envoy-gateway standalone active-passive active-active v1alpha2; do
  render qwen3 default "$chart/presets/$preset.yaml" "manifests/$preset.yaml"
done
render qwen envoy-gateway-system "$chart/presets/ack.yaml" manifests/ack.yaml
render qwen envoy-gateway-system "$chart/presets/ack.yaml" ack/picker.yaml
render gaie-kv-events llm-d-precise deploy/llm-d/values.yaml llm-d/picker.yaml
