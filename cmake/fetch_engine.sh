#!/usr/bin/env bash
# Fetches a part of the pinned llama.cpp release: fetch_engine.sh source|linux-x64|linux-arm64 DESTINATION
#
# Both parts come from npm packages of one publisher and one version. `source` carries upstream's git bundle; the
# others carry the libraries that were built from it for that platform. A package is checked against the hash below
# before anything in it is used.
set -euo pipefail

version="3.22.1"
part="$1"
destination="$2"
case "$part" in
  source)
    package="node-llama-cpp@$version"
    size="36 MB"
    sha512="6e5b488a9b9699cd76dc7eed30880318a4ac4ab866865418795502e3c5d38d55bb5c624988927209d95333343f2e25a83e4183a5c2f816f883a60c3ba9f4e20f"
    ;;
  linux-x64)
    package="@node-llama-cpp/linux-x64@$version"
    size="11 MB"
    sha512="e6e0820cda9608d7da026f1a47f533c5ba381c1a4a80d17dd640873dea4a86032057638099ab6879f6ce94c8a1b2a0a21f639ddf913f7941d00856df44126e3a"
    ;;
  linux-arm64)
    package="@node-llama-cpp/linux-arm64@$version"
    size="7 MB"
    sha512="5beee768a0975fdfde1238c59914bcbefc7dd50c8b5c36de1717b165cddb87f3ed40005982644bdc2d00b586179f86064e3ff7428af8956667dada636453cb75"
    ;;
  *)
    echo "error: there is no part '$part' of the engine" >&2
    exit 2
    ;;
esac

[ -e "$destination" ] && exit 0
mkdir -p "$(dirname "$destination")"
work="$(mktemp -d "$destination.XXXXXX")"
trap 'rm -rf "$work"' EXIT

fail() {
  echo "error: $1" >&2
  exit 1
}

echo "Fetching llama.cpp, $part (npm package $package, $size)"
if ! (cd "$work" && npm pack "$package" >npm.out 2>npm.err); then
  cat "$work/npm.err" >&2
  fail "npm could not fetch $package. Can this machine reach npm's registry (npm ping), and does npm trust its \
certificate (NODE_EXTRA_CA_CERTS, npm config get cafile, HTTPS_PROXY)?"
fi
tarball="$(echo "$work"/*.tgz)"
echo "$sha512  $tarball" | sha512sum --check --status ||
  fail "$package does not have the pinned SHA-512; nothing of it was used. Is a mirror or a proxy in between?"
tar -xzf "$tarball" -C "$work" || fail "$package could not be unpacked; is the disk full?"

if [ "$part" = source ]; then
  git -c advice.detachedHead=false clone --quiet "$work/package/llama/gitRelease.bundle" "$work/whole" ||
    fail "git could not read the bundle in $package"
else
  mv "$work/package/bins/$part" "$work/whole"
fi
mv -T "$work/whole" "$destination"
