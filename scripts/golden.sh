#!/usr/bin/env bash
# Rewrites the expected output of every test that is driven by testdata.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for dir in $(git grep -l cockroachdb/datadriven -- '*_test.go' | xargs -r -n 1 dirname | sort -u); do
	go test "./$dir" -count=1 -rewrite
done
git status --short -- '*/testdata/*'
