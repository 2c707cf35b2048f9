#!/usr/bin/env bash
# fuzz.sh TIME runs every fuzz target of the module for TIME.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

git grep -h -o -E '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' >/dev/null || { echo "no fuzz targets"; exit 1; }
git grep -o -E '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file name; do
	go test "./$(dirname "$file")" -run '^$' -fuzz "^${name#func }\$" -fuzztime "$1"
done
