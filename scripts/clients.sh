#!/usr/bin/env bash
# Builds and tests the clients in other languages, against bin/kalamdb. Exit code 3:
# this machine has not what that takes, and nothing was tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../clients/typescript"

untested() {
	printf '\n  THE TYPESCRIPT CLIENT WAS NOT TESTED: %s\n\n' "$1" >&2
	exit 3
}

command -v node >/dev/null && command -v npm >/dev/null || untested "node and npm are not installed (Debian: apt-get install nodejs npm)"
major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
[ "$major" -ge 20 ] || untested "node is $(node --version), expected version 20 or newer"
npm ci --no-audit --no-fund --silent || untested "npm cannot fetch the packages of package-lock.json"
npm test
