#!/usr/bin/env bash
# Lets readers that know nothing of KalamDB read what a server wrote, and compares. The
# readers are installed below interop/.tools; one that cannot be installed or run is named
# at the end, and then the exit code is 3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
TOOLS=$PWD/.tools
BIN=$PWD/../bin/kalamdb
WORK=$(mktemp -d)
SERVER=
finish() {
  [[ -z $SERVER ]] || kill "$SERVER" 2>/dev/null || true
  rm -rf "$WORK"
}
trap finish EXIT

mkdir -p "$TOOLS"
touch "$TOOLS/missing" && : > "$TOOLS/missing"
if command -v python3 >/dev/null && { [[ -x $TOOLS/venv/bin/python ]] || python3 -m venv "$TOOLS/venv"; }; then
  while read -r package; do # one after the other: what cannot be had must not take the others with it
    "$TOOLS/venv/bin/pip" install -q --disable-pip-version-check "$package" || echo "$package" >> "$TOOLS/missing"
  done < requirements.txt
else
  echo "python3 with venv" >> "$TOOLS/missing"
fi
if command -v npm >/dev/null; then
  cp package.json read.mjs "$TOOLS/"
  npm install --prefix "$TOOLS" --silent --no-audit --no-fund --no-package-lock || echo "the npm packages" >> "$TOOLS/missing"
else
  echo "npm" >> "$TOOLS/missing"
fi

cd "$WORK"
"$BIN" serve --data-dir data --listen 127.0.0.1:0 --log-level warn > url 2> log &
SERVER=$!
for _ in $(seq 100); do
  [[ -s url ]] && break
  kill -0 "$SERVER" 2>/dev/null || { cat log; exit 1; }
  sleep 0.1
done
URL=$(awk '{print $NF}' url)
sql() { "$BIN" sql --url "$URL" --data-dir data "$@" > /dev/null; }
HERE=$OLDPWD
sql -f "$HERE/fill.sql"
sql -f "$HERE/fill-ana.sql" --user ana
sql -c "INSERT INTO app.notes VALUES (1, 'of ben', false), (7, 'of ben', false); INSERT INTO app.visits VALUES (1, 'of ben'), (7, 'of ben')" --user ben
sql -c "FLUSH ALL"
sql -f "$HERE/change.sql"
sql -f "$HERE/change-ana.sql" --user ana
sql -c "FLUSH ALL"
for t in notes types items plans visits; do
  "$BIN" sql --url "$URL" --data-dir data --user ana --format json -c "DESCRIBE app.$t" > "$t.columns.json"
  "$BIN" sql --url "$URL" --data-dir data --user ana --format json -c "SELECT * FROM app.$t ORDER BY 1, 2" > "$t.json"
done
kill "$SERVER" && wait "$SERVER" || true
SERVER=
[[ $(ls data/storage/packs/app/visits | wc -l) == 1 && $(ls data/storage/users/ana/app/visits | wc -l) == 1 ]] || { echo "expected one pack and one file of visits"; exit 1; }

failed=0
if [[ -x $TOOLS/venv/bin/python ]]; then
  PYTHONPATH=$HERE "$TOOLS/venv/bin/python" "$HERE/readers.py" "$HERE/../docs/reading-the-bucket.md" "$TOOLS/missing" || failed=1
fi
if [[ -d $TOOLS/node_modules/hyparquet ]]; then
  node "$TOOLS/read.mjs" || failed=1
fi
if [[ -s $TOOLS/missing ]]; then
  echo "NOT RUN for want of: $(paste -sd, "$TOOLS/missing")"
  [[ $failed == 1 ]] || failed=3
fi
exit $failed
