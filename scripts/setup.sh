#!/usr/bin/env bash
# Makes this machine able to build and test KalamDB, and installs nothing that is
# already there:
#
#   1. a C and C++ compiler, for DuckDB: Debian's gcc and g++ by apt-get;
#   2. Go, in .tools/go of this folder: the toolchain module through the Go module
#      proxy with a pinned hash, or, without any Go to fetch it with, go.dev.
#
# What it cannot install it names, with what to do about it, and exits 1.
#
# KALAMDB_GO_DOWNLOAD  where step 2 looks instead of https://go.dev/dl
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

go_install=1.26.8 # installed when the machine has no Go new enough for go.mod
declare -A go_sum=(
	[linux-amd64]='h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM='
	[linux-arm64]='h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc='
)
tools=$PWD/.tools
go_needed=$(sed -n 's/^go //p' go.mod)

say() { printf 'setup: %s\n' "$*" >&2; }

# at_least VERSION WANTED
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# go_version BINARY prints 1.26.8, or nothing if it does not run.
go_version() {
	(cd / && GOTOOLCHAIN=local "$1" version 2>/dev/null) | sed -n 's/^go version go\([0-9.]*\).*/\1/p' || true
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		return 1
	fi
}

# --- 1. the C++ compiler ---

compiles() {
	echo 'int main() { return 0; }' | ${CC:-gcc} -x c - -o /dev/null 2>/dev/null &&
		echo '#include <string>
int main() { return std::string().size(); }' | ${CXX:-g++} -x c++ - -o /dev/null 2>/dev/null
}

apt_updated=
apt_update() {
	[ -n "$apt_updated" ] && return
	as_root apt-get update -qq >&2 || true # an old list may do
	apt_updated=1
}

install_compiler() {
	command -v apt-get >/dev/null || return 1
	say "installing gcc and g++ (DuckDB needs a C++ linker)"
	apt_update
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc g++ libc6-dev >&2
}

if ! compiles; then
	install_compiler && compiles || {
		say "a working C and C++ compiler is missing and could not be installed. Install it: apt-get install gcc g++ libc6-dev"
		exit 1
	}
fi

# --- 2. Go ---

platform() {
	case "$(uname -s)-$(uname -m)" in
	Linux-x86_64) echo linux-amd64 ;;
	Linux-aarch64) echo linux-arm64 ;;
	*) return 1 ;;
	esac
}

# debian_go prints the path of a Go unpacked from Debian's archive: too old to build
# with, good enough to fetch a newer one. Nothing is installed in the system.
debian_go() {
	command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
	apt_update
	local package dir=$tools/bootstrap
	package=$(apt-cache depends golang-go 2>/dev/null | sed -n 's/.*Depends: \(golang-[0-9.]*-go\).*/\1/p' | head -n 1)
	[ -n "$package" ] || return 1
	rm -rf "$dir" && mkdir -p "$dir"
	(cd "$dir" && apt-get download -qq "$package" >&2 && dpkg -x ./*.deb .) 2>/dev/null || return 1
	ls "$dir"/usr/lib/go-*/bin/go
}

# toolchain BINARY fetches the toolchain module with an older Go.
toolchain() {
	local go=$1 dir=$tools/toolchain json sum root
	rm -rf "$dir" && mkdir -p "$dir/empty" && echo "module empty" >"$dir/empty/go.mod" || return 1 # not ours: an old Go cannot read it
	json=$(cd "$dir/empty" && GOTOOLCHAIN=local GOFLAGS=-modcacherw GO111MODULE=on GOMODCACHE=$dir/mod GOPATH=$dir/path \
		"$go" mod download -json "golang.org/toolchain@v0.0.1-go$go_install.$(platform)") || { say "$json"; return 1; }
	sum=$(sed -n 's/.*"Sum": "\(.*\)".*/\1/p' <<<"$json")
	root=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$json")
	if [ "$sum" != "${go_sum[$(platform)]}" ]; then
		say "the Go toolchain that arrived has the hash $sum, expected ${go_sum[$(platform)]}"
		return 1
	fi
	chmod -R u+w "$root"
	chmod +x "$root"/bin/* "$root"/pkg/tool/*/* # a module's files have no such bit
	rm -rf "$tools/go" && mv "$root" "$tools/go" && rm -rf "$dir"
}

# tarball fetches the official archive.
tarball() {
	local base=${KALAMDB_GO_DOWNLOAD:-https://go.dev/dl} name dir=$tools/download sum
	name=go$go_install.$(platform).tar.gz
	rm -rf "$dir" && mkdir -p "$dir"
	sum=$(curl -fsSL --connect-timeout 10 --max-time 60 "$base/?mode=json&include=all" |
		grep -A 8 "\"filename\": \"$name\"" | sed -n 's/.*"sha256": "\([0-9a-f]\{64\}\)".*/\1/p' | head -n 1) || return 1
	[ -n "$sum" ] || return 1
	curl -fsSL --connect-timeout 10 --max-time 600 -o "$dir/$name" "$base/$name" || return 1
	(cd "$dir" && echo "$sum  $name" | sha256sum --check --quiet >&2) || return 1
	rm -rf "$tools/go" && tar -C "$tools" -xzf "$dir/$name" && rm -rf "$dir"
}

install_go() {
	platform >/dev/null || return 1
	local go
	if go=$(command -v go) || go=$(debian_go); then
		say "fetching Go $go_install through the Go module proxy into .tools/go"
		if toolchain "$go"; then
			rm -rf "$tools/bootstrap"
			return
		fi
	fi
	rm -rf "$tools/bootstrap" "$tools/toolchain"
	say "downloading Go $go_install into .tools/go"
	tarball
}

have=$(go_version "$tools/go/bin/go")
[ -n "$have" ] || have=$(go_version go)
if [ -z "$have" ] || ! at_least "$have" "$go_needed"; then
	install_go && at_least "$(go_version "$tools/go/bin/go")" "$go_needed" || {
		say "Go $go_needed or newer is missing and could not be installed. Install Go $go_install (https://go.dev/doc/install) and have it first in PATH"
		exit 1
	}
fi
