#!/usr/bin/env bash
# dev.sh LISTEN starts MinIO and, on it, a server in dev mode: no token needed. Data
# of both is below ./data. The end of the server is the end of MinIO.
set -euo pipefail
listen=$1
store=127.0.0.1:9000
export AWS_ACCESS_KEY_ID=kalamdb AWS_SECRET_ACCESS_KEY=kalamdb-dev-secret AWS_REGION=us-east-1

# In a session of its own: Ctrl-C is for the server, which needs its store to the end.
setsid bin/minio-dev --data "$PWD/data/minio" --listen "$store" \
	--access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" >&2 &
minio=$!
trap 'kill "$minio" 2>/dev/null; wait "$minio" || true' EXIT
trap : INT TERM # the server ends by itself, then this script does

tries=0
until curl -fs -o /dev/null "http://$store/minio/health/live"; do
	tries=$((tries + 1))
	if [ "$tries" -gt 600 ] || ! kill -0 "$minio" 2>/dev/null; then
		echo "dev: MinIO does not answer on $store" >&2
		exit 1
	fi
	sleep 0.5
done

KALAMDB_STORAGE_S3_ENDPOINT=http://$store KALAMDB_STORAGE_S3_PATH_STYLE=true \
	bin/kalamdb serve --dev --data-dir ./data/dev --storage s3://kalamdb/dev --listen "$listen"
