#!/usr/bin/env bash
# What make lint does not look at: the licences of what the binary is made of, and known
# holes in it. The tools are those of tools/go.mod. Exit code 3: the list of known holes
# could not be fetched from vuln.go.dev, and only that was not looked at.
#
# KALAMDB_VULN_DB  another address of the list, such as file:///path of a copy
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

allowed='^(MIT|Apache-2.0|BSD-2-Clause|BSD-3-Clause|ISC)$'
mkdir -p bin
go build -C tools -o "$PWD/bin/" github.com/google/go-licenses golang.org/x/vuln/cmd/govulncheck

echo "check: licences" >&2
bin/go-licenses csv ./cmd/kalamdb --ignore kalamdb >bin/licences.csv 2>bin/licences.log || {
	grep -v '^W' bin/licences.log >&2
	exit 1
}
bad=
while IFS=, read -r library _ licence; do
	[[ $licence =~ $allowed ]] || { printf '%s has the licence %s, expected %s\n' "$library" "$licence" "$allowed" >&2; bad=1; }
done <bin/licences.csv
for module in $(go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}' ./cmd/kalamdb | sort -u); do
	grep -q "^$module[,/]" bin/licences.csv || { printf 'no licence was found for %s\n' "$module" >&2; bad=1; }
done
[ -z "$bad" ]

echo "check: known vulnerabilities" >&2
code=0
found=$(bin/govulncheck -db "${KALAMDB_VULN_DB:-https://vuln.go.dev}" ./... 2>&1) || code=$?
if grep -q 'fetching vulnerabilities' <<<"$found"; then
	printf '%s\n\n  KNOWN VULNERABILITIES WERE NOT LOOKED FOR\n\n' "$found" >&2
	exit 3
fi
printf '%s\n' "$found"
exit "$code"
