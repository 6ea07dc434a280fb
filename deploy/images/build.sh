#!/usr/bin/env bash
# Build the image of each service, predictmesh/SERVICE:VERSION, and its bill of materials, .build/images/SERVICE.spdx.json.
#
#   deploy/images/build.sh [SERVICE...] [-- ARGUMENT...]
#
# Without a name, all services; the arguments are for the engine's build. ENGINE is podman or docker, the one that is there
# unless it says which. SYFT= leaves out the bills.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

services=()
while (($#)) && [[ $1 != -- ]]; do
  services+=("$1")
  shift
done
((${#services[@]})) || services=(gateway features model registry)
arguments=("${@:2}")

# With options of the engine's own, if any.
read -ra engine <<<"${ENGINE:-$(command -v podman || command -v docker || true)}"
((${#engine[@]})) || { echo "neither podman nor docker is installed" >&2; exit 1; }
syft=${SYFT-.venv/bin/syft}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || true)
[[ -z $revision ]] || git diff --quiet HEAD -- services protos deploy/images requirements.lock || revision+=-changed
# The commit's time, so that the same commit makes the same image.
created=$(git show --no-patch --format=%cI HEAD 2>/dev/null || date --iso-8601=seconds)
format=()
# Podman's own format has no health checks.
"${engine[@]}" --version | grep -qi podman && format=(--format docker)

for service in "${services[@]}"; do
  image=predictmesh/$service:$version
  "${engine[@]}" build "${format[@]}" --quiet --file deploy/images/Dockerfile --tag "$image" \
    --build-arg "SERVICE=$service" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "CREATED=$created" "${arguments[@]}" . >/dev/null
  echo "$image"
  [[ -n $syft ]] || continue
  mkdir -p .build/images
  archive=$(mktemp --tmpdir "predictmesh-$service-XXXXXX.tar")
  trap 'rm -f "$archive"' EXIT
  "${engine[@]}" save --output "$archive" "$image" >/dev/null
  "$syft" scan --quiet --source-name "predictmesh/$service" --source-version "$version" \
    --output "spdx-json=.build/images/$service.spdx.json" "docker-archive:$archive"
  rm -f "$archive"
  echo ".build/images/$service.spdx.json"
done
