#!/usr/bin/env bash
# Fetches the pinned llama.cpp source: fetch_engine.sh DESTINATION
#
# llama.cpp's release is taken from an npm package that carries upstream's git bundle. The package is checked against
# the hash below before anything in it is used.
set -euo pipefail

package="node-llama-cpp@3.22.1"
sha512="6e5b488a9b9699cd76dc7eed30880318a4ac4ab866865418795502e3c5d38d55bb5c624988927209d95333343f2e25a83e4183a5c2f816f883a60c3ba9f4e20f"
destination="$1"

[ -f "$destination/CMakeLists.txt" ] && exit 0
mkdir -p "$(dirname "$destination")"
work="$(mktemp -d "$destination.XXXXXX")"
trap 'rm -rf "$work"' EXIT

echo "Fetching llama.cpp (npm package $package, 36 MB)"
(cd "$work" && npm pack --silent "$package" >/dev/null)
tarball="$(echo "$work"/*.tgz)"
echo "$sha512  $tarball" | sha512sum --check --status || {
  echo "error: $package does not have the pinned SHA-512; nothing of it was used" >&2
  exit 1
}
tar -xzf "$tarball" -C "$work" package/llama/gitRelease.bundle
git -c advice.detachedHead=false clone --quiet "$work/package/llama/gitRelease.bundle" "$work/source"
mv -T "$work/source" "$destination"
