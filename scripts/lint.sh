#!/usr/bin/env bash
# Everything a reviewer should not have to say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail=
step() {
	echo "lint: $1" >&2
	shift
	"$@" || fail=1
}

formatted() {
	local bad
	bad=$(gofmt -l $(git ls-files '*.go'))
	[ -z "$bad" ] || { printf 'not formatted (make fmt):\n%s\n' "$bad"; return 1; }
}

step gofmt formatted
step vet go vet ./...
step staticcheck go tool staticcheck ./...
step "go mod tidy" go mod tidy -diff
step minio-dev env -C minio-dev go vet ./...
[ -z "$fail" ]
