# What the scripts share. Sourced by each of them: it goes to the top of the repository,
# sets the variables below and defines functions; it runs nothing by itself.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
build=$root/build     # everything that is made or fetched
rig=$build/rig        # the Linux kernel of the nested machine
mkdir -p "$build"

# What is built here is this machine's and this module's, whatever the caller's environment says,
# or the file of "go env -w", which a variable outdoes if it is not empty. Programs must run in a
# machine without libraries. tools/mkimage sees to the guest's by itself.
export GO111MODULE=on GOWORK=off GOFLAGS=-buildvcs=false GOOS=linux GOARCH=amd64 GOAMD64=v1 GOFIPS140=off CGO_ENABLED=0
unset GODEBUG GOEXPERIMENT GOROOT GO_EXTLINK_ENABLED

say() { echo "${0##*/}: $*" >&2; }
die() { say "$@"; exit 1; }

# as_root COMMAND...: with root's rights.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "need root for: $*; run that by hand, or install sudo"
    fi
}

# with_apt COMMAND...: one use of apt at a time, whichever script or clone asks for it.
with_apt() {
    command -v apt-get >/dev/null ||
        die "this is no Debian: install by hand what this needs: $*"
    (
        flock 9
        "$@"
    ) 9>"${TMPDIR:-/tmp}/kapsel-apt-$(id -u).lock"
}

apt_options=(-qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
apt_updated=

# apt_update: fetches the package lists, once per script.
apt_update() {
    [ -z "$apt_updated" ] || return 0
    say "apt-get update"
    as_root apt-get "${apt_options[@]}" update
    apt_updated=yes
}

# need COMMAND PACKAGE...: installs the Debian packages if the command is missing.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    say "no $command here: installing $*"
    with_apt install_packages "$@"
    command -v "$command" >/dev/null || die "$command is still missing after installing $*"
}

install_packages() {
    local install=(as_root env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}"
        install -y --no-install-recommends)
    "${install[@]}" "$@" >&2 && return
    apt_update # the lists were missing or old
    "${install[@]}" "$@" >&2
}

# need_go: Go cannot come from Debian, its version is too old there.
need_go() {
    command -v go >/dev/null ||
        die "no Go here: install $(sed -n 's/^toolchain //p' go.mod) from https://go.dev/dl and put it into PATH"
}

# need_qemu: the full QEMU for x86, with the machine q35, which the rig is. Guests are microvm, which it has too.
need_qemu() {
    need qemu-system-x86_64 qemu-system-x86 seabios
    [[ $(qemu-system-x86_64 -machine help) == *q35* ]] ||
        die "this qemu-system-x86_64 has no machine q35 (a microvm build?): install the package qemu-system-x86"
}

# build_command: the command, build/kapsel.
build_command() {
    need_go
    go build -trimpath -o "$build/kapsel" ./cmd/kapsel
}

# build_bench IMAGE TAGS [TASK...]: an image that measures itself, with further tasks.
build_bench() {
    local image=$1 tags=$2
    shift 2
    go run ./tools/mkimage -o "$image" -tags "$tags" \
        ./guest/tasks/bench64 ./guest/tasks/benchpeer ./guest/tasks/bench32/bench32.bin "$@"
}

# kvm_works: this host's KVM can run the kernel; needs build/kapsel.
kvm_works() { "$build/kapsel" doctor --accel kvm >/dev/null; }
