#!/usr/bin/env bash
# run.sh DATA LISTEN starts a server and, once it answers, prints how to talk to it.
set -euo pipefail
data=$1 listen=$2

greet() {
	while read -r line; do
		printf '%s\n' "$line"
		url=$(grep -o 'http://[^ ]*' <<<"$line") || continue
		token=$(bin/kalamdb token --user root --role dba --data-dir "$data")
		cat <<-END

			A token of user root, role dba, for 24 hours:
			  $token

			Paste this into another terminal:
			  curl -s $url/api/sql -H 'Authorization: Bearer $token' -H 'Content-Type: application/json' -d '{"sql":"SELECT 1 + 1 AS two"}'

			Stop with Ctrl-C.
		END
	done
}

# The server replaces this shell, so that signals reach it and nothing else.
exec bin/kalamdb serve --data-dir "$data" --listen "$listen" > >(greet)
