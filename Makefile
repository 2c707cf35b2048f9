# make help lists what there is. run and test set this machine up first; the other
# targets expect that one of them ran.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A Go that scripts/setup.sh installed comes first; it exists only where it was needed.
export PATH := $(CURDIR)/.tools/go/bin:$(PATH)
export GOTOOLCHAIN := local

DATA ?= ./data
LISTEN ?= 127.0.0.1:8080
RELEASE ?= $(shell git describe --always --dirty --tags 2>/dev/null)
BIN := bin/kalamdb
TESTFLAGS ?=
FUZZTIME ?= 20s

.PHONY: help setup build run dev minio test clients lint check sbom fmt golden bench bench-lake bench-live bench-hostile fuzz nightly e2e interop clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## install what this machine lacks: gcc, g++, Go
	@scripts/setup.sh

build: setup ## build bin/kalamdb
	@go build -ldflags "-s -w -X main.release=$(RELEASE)" -o $(BIN) ./cmd/kalamdb

run: build ## start a server on ./data (DATA=, LISTEN=) and print how to talk to it
	@exec scripts/run.sh $(DATA) $(LISTEN)

dev: build ## start MinIO and a server in dev mode on it, no tokens needed
	@go build -C minio-dev -o $(CURDIR)/bin/minio-dev .
	@exec scripts/dev.sh $(LISTEN)

minio: setup ## start MinIO alone, built from source
	@go build -C minio-dev -o $(CURDIR)/bin/minio-dev .
	@exec bin/minio-dev --data $(CURDIR)/data/minio

test: setup ## run all tests with the race detector, MinIO included
	@scripts/test.sh $(TESTFLAGS)

clients: build ## build and test the TypeScript client; takes node 20 and npm, which make test does not
	@scripts/clients.sh

e2e: setup ## run the acceptance test only: the built binary, folder and MinIO
	@go test -count=1 -v ./test/acceptance

interop: build ## let DuckDB, pandas, Polars, Spark, ClickHouse and JavaScript read what a server wrote
	@interop/run.sh

lint: setup ## vet, staticcheck, gofmt, go mod tidy -diff
	@scripts/lint.sh

check: lint ## lint, and the licences and known vulnerabilities of what the binary is made of
	@scripts/check.sh

sbom: build ## write bin/kalamdb.cdx.json: what is in the binary (CycloneDX)
	@go run -C tools ./sbom $(CURDIR)/$(BIN) >bin/kalamdb.cdx.json

fmt: setup ## gofmt every file
	@gofmt -l -w $$(git ls-files '*.go')

golden: setup ## rewrite the golden transcripts in testdata
	@scripts/golden.sh

bench: build ## print speed as ratios to raw Pebble and raw DuckDB, and of large catalogs
	@go run ./bench
	@go run ./bench -bin $(BIN) -only insert,live,write
	@$(MAKE) bench-lake
	@go test -run '^$$' -bench Plan -benchtime 1000x ./query
	@go test -run '^$$' -bench ManyOfAll -benchtime 20x .

bench-lake: build ## print the speed of flush, packs, start, backup and of many small files, on a folder and MinIO
	@KALAMDB_MINIO_BIN=$$(go run -C minio-dev . --print-program) go run ./bench -bin $(BIN) -only lake

bench-live: build ## print the speed of live queries in large numbers, and draw docs/live-*.svg
	@go run ./bench -bin $(BIN) -only livemany -seconds 3 -charts docs

bench-hostile: build ## print what 50 users wait for beside 5 hostile ones
	@go run ./bench -bin $(BIN) -only hostile

fuzz: setup ## fuzz every target for FUZZTIME (20s)
	@scripts/fuzz.sh $(FUZZTIME)

nightly: ## everything, with a long model test and fuzzing for 10 minutes a target
	@$(MAKE) lint test
	@go test -count=1 -timeout 60m -run TestModel -rapid.checks=3000 .
	@go test -count=1 -timeout 60m -v ./lake -run TestHistories -histories 10000
	@go test -count=1 -timeout 60m -v ./query -run TestFilterAgreesWithDuckDB -filter.rows 1000000
	@go test -count=1 -timeout 60m -v ./server -run 'TestSlowReaderIsBounded|TestSubscribeChurn' -slow.megabytes 60 -churn 100000
	@$(MAKE) fuzz FUZZTIME=10m
	@$(MAKE) bench

clean: ## remove what was built, not ./data
	@rm -rf bin
