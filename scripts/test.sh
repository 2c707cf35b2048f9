#!/usr/bin/env bash
# All tests of both modules, with the race detector. Arguments go to go test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# MinIO is built before the tests that start it: its build must not eat their time.
(cd minio-dev && go run . --print-program && go run . --print-versitygw && go test -timeout 15m ./...)

# Never from the cache: the acceptance test builds the server in a process of its own,
# whose sources the cache does not see.
go test -race -count=1 -timeout 20m "$@" ./...
