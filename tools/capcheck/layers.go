package main

import (
	"slices"
	"strings"
)

// A layer is a set of packages under the same rules.
type layer struct {
	packages string // a directory, or one and everything below it: "guest/arch/..."
	kind     kind
	imports  []string // what it may import of this module, in the same notation
	library  []string // what it may import of the standard library, if its kind restricts that
	unsafe   []string // files that may use unsafe although the kind forbids it
}

// A kind is what code is trusted with.
type kind int

const (
	host    kind = iota // runs on the host: only its imports of this module are checked
	task                // ring 3, confined by page tables: likewise
	trusted             // ring 0 with unsafe and assembly
	runtime             // trusted; stands in for Go's runtime and is imported by none
	board               // ring 0, safe Go that makes privileges
	kernel              // ring 0, safe Go
	capsule             // ring 0, safe Go without any state or power of its own
)

var kindNames = map[kind]string{trusted: "trusted", runtime: "trusted", board: "board", kernel: "kernel", capsule: "capsule"}

// ring0 reports whether the code is part of the kernel's image.
func (k kind) ring0() bool {
	return k == trusted || k == runtime || k == board || k == kernel || k == capsule
}

// safe reports whether the code has to do without unsafe and assembly.
func (k kind) safe() bool { return k == board || k == kernel || k == capsule }

// What capsules may import. Those that drive virtio devices share a library, which is a capsule itself, and so do those that speak over
// ports.
var (
	anyCapsule = []string{"guest/abi/...", "guest/kernel", "guest/kernel/capability", "guest/kernel/format", "guest/kernel/hil/...",
		"guest/mmio", "guest/dma"}
	virtioDriver = append(slices.Clone(anyCapsule), "guest/capsules/virtio")
	lineDriver   = append(slices.Clone(anyCapsule), "guest/capsules/lines")
	bits         = []string{"math/bits"}
)

// layers, the first that fits a package counts.
var layers = []layer{
	{packages: "guest/abi/virtio/hostile", kind: host, imports: []string{"guest/abi/virtio"}},
	{packages: "guest/abi/storage", kind: kernel, imports: []string{"guest/kernel/crc32c", "guest/kernel/siphash"}},
	{packages: "guest/abi/...", kind: kernel},
	{packages: "guest/functab", kind: kernel, library: bits},
	{packages: "guest/kernel/capability", kind: kernel},
	{packages: "guest/kernel/aes", kind: kernel},
	{packages: "guest/kernel/crc", kind: kernel},
	{packages: "guest/kernel/crc32c", kind: trusted},
	{packages: "guest/kernel/format", kind: kernel},
	{packages: "guest/kernel/generation", kind: kernel},
	{packages: "guest/kernel/inject", kind: kernel},
	{packages: "guest/kernel/sha256", kind: kernel, library: []string{"math/bits"}},
	{packages: "guest/kernel/sha512", kind: kernel, library: []string{"math/bits"}},
	{packages: "guest/kernel/siphash", kind: kernel, library: []string{"math/bits"}},
	{packages: "guest/kernel/hil/...", kind: kernel, imports: []string{"guest/abi"}},
	{packages: "guest/kernel/tbf", kind: kernel,
		imports: []string{"guest/abi", "guest/kernel/format"}},
	{packages: "guest/kernel/tbf/tbfbuild", kind: host,
		imports: []string{"guest/abi", "guest/kernel/tbf"}},
	{packages: "guest/kernel/tbf/tab/...", kind: host,
		imports: []string{"guest/kernel/tbf"}},
	{packages: "guest/kernel/kerneltest", kind: host,
		imports: []string{"guest/abi", "guest/kernel", "guest/kernel/capability", "guest/kernel/format", "guest/kernel/hil/...",
			"guest/kernel/tbf", "guest/kernel/tbf/tbfbuild"}},
	{packages: "guest/kernel", kind: kernel,
		imports: []string{"guest/abi", "guest/kernel/capability", "guest/kernel/format", "guest/kernel/hil/...", "guest/kernel/sha256", "guest/kernel/tbf"},
		library: []string{"math/bits"},
		unsafe:  []string{"guest/kernel/memory_unsafe.go"}},

	{packages: "guest/capsules/virtio/virtiotest", kind: host,
		imports: []string{"guest/abi/virtio/...", "guest/capsules/virtio", "guest/dma", "guest/kernel/capability", "guest/kernel/kerneltest", "guest/mmio"}},
	{packages: "guest/capsules/virtioblk", kind: capsule, imports: virtioDriver, library: bits},
	{packages: "guest/capsules/virtioconsole", kind: capsule, imports: virtioDriver, library: bits},
	{packages: "guest/capsules/virtiogpio", kind: capsule, imports: virtioDriver, library: bits},
	{packages: "guest/capsules/virtionet", kind: capsule, imports: virtioDriver, library: bits},
	{packages: "guest/capsules/virtioports", kind: capsule, imports: virtioDriver, library: bits},
	{packages: "guest/capsules/virtiorng", kind: capsule, imports: append(slices.Clone(virtioDriver), "guest/kernel/generation"), library: bits},
	{packages: "guest/capsules/adcport", kind: capsule, imports: lineDriver, library: bits},
	{packages: "guest/capsules/buzzerport", kind: capsule, imports: lineDriver, library: bits},
	{packages: "guest/capsules/dacport", kind: capsule, imports: lineDriver, library: bits},
	{packages: "guest/capsules/loadport", kind: capsule, imports: append(slices.Clone(anyCapsule), "guest/kernel/crc32c"), library: bits},
	{packages: "guest/capsules/softaes", kind: capsule, imports: append(slices.Clone(anyCapsule), "guest/kernel/aes")},
	{packages: "guest/capsules/softcrc", kind: capsule,
		imports: append(slices.Clone(anyCapsule), "guest/kernel/crc", "guest/kernel/crc32c")},
	{packages: "guest/capsules/softdigest", kind: capsule,
		imports: append(slices.Clone(anyCapsule), "guest/kernel/sha256", "guest/kernel/sha512")},
	{packages: "guest/capsules/faulty/failures", kind: capsule, imports: []string{"guest/abi"}},
	{packages: "guest/capsules/faulty", kind: capsule, imports: append(slices.Clone(anyCapsule), "guest/capsules/faulty/failures")},
	{packages: "guest/capsules/faultymux", kind: capsule, imports: append(slices.Clone(anyCapsule), "guest/capsules/faulty/failures")},
	{packages: "guest/capsules/...", kind: capsule, imports: anyCapsule, library: bits},

	{packages: "guest/mmio", kind: trusted,
		imports: []string{"guest/abi", "guest/kernel/capability"},
		library: []string{"math/bits"}},
	{packages: "guest/dma", kind: trusted,
		imports: []string{"guest/abi", "guest/kernel/capability"}},
	{packages: "guest/arch/amd64/unwind", kind: kernel, imports: []string{"guest/abi", "guest/functab", "guest/kernel"}},
	{packages: "guest/arch/amd64/mitigation", kind: kernel,
		imports: []string{"guest/kernel/format"}},
	{packages: "guest/arch/...", kind: trusted,
		imports: []string{"guest/abi", "guest/arch/...", "guest/functab", "guest/kernel", "guest/kernel/format", "guest/kernel/hil/..."},
		library: []string{"math/bits"}},
	{packages: "guest/board/...", kind: board,
		imports: []string{"guest/abi/...", "guest/arch/...", "guest/board/...", "guest/capsules/...", "guest/dma", "guest/kernel",
			"guest/kernel/capability", "guest/kernel/crc32c", "guest/kernel/format", "guest/kernel/hil/...", "guest/kernel/inject",
			"guest/kernel/tbf", "guest/mmio"},
		library: []string{"math/bits"}},
	{packages: "guest/runtime", kind: runtime,
		library: []string{"internal/..."}},

	{packages: "guest/tock32", kind: task},
	{packages: "guest/task/...", kind: task, imports: []string{"guest/abi", "guest/functab", "guest/task/..."}},
	{packages: "guest/net/node", kind: task, imports: []string{"guest/abi", "guest/net", "guest/task"}},
	{packages: "guest/net/http", kind: task, imports: []string{"guest/kernel/format", "guest/net/..."}},
	{packages: "guest/net/...", kind: task, imports: []string{"guest/net/..."}},
	{packages: "guest/tasks/...", kind: task,
		imports: []string{"guest/abi", "guest/kernel/format", "guest/net/...", "guest/task/...", "guest/tasks/..."}},

	{packages: "files", kind: host},
	{packages: "vmm/control", kind: host, imports: []string{"guest/abi", "guest/kernel/crc32c"}},
	{packages: "vmm/...", kind: host, imports: []string{"guest/abi/...", "guest/arch/amd64/mitigation", "guest/kernel/tbf", "files", "vmm/..."}},
	{packages: "sandbox/...", kind: host, imports: []string{"guest/abi", "sandbox/...", "vmm", "vmm/image", "vmm/snapshot", "vmm/virtio"}},
	{packages: "examples/...", kind: host, imports: []string{"guest/abi", "guest/kernel/tbf", "sandbox", "vmm/image", "tests/machine"}},
	{packages: "bench", kind: host, imports: []string{"guest/abi", "vmm", "vmm/image"}},
	{packages: "bench/model", kind: host, imports: []string{"guest/abi"}},
	{packages: "cmd/...", kind: host, imports: []string{"guest/abi", "guest/abi/virtio", "guest/arch/amd64/mitigation", "guest/kernel/tbf/...", "guest/net", "bench/...", "files", "sandbox/...", "vmm/...", "cmd/..."}},
	{packages: "tools/mkoci", kind: host, imports: []string{"cmd/kapsel/oci/bundle", "tools/ociimage"}}, // what an image says is checked as the runtime will check it
	{packages: "tools/...", kind: host, imports: []string{"guest/abi", "guest/functab", "guest/kernel/tbf/...", "bench/...", "files", "vmm/...", "tools/..."}},
}

// mints are the packages whose package-level functions make privileges: capabilities,
// device registers, device buffers. Only the packages of minter may name them.
var (
	mints  = []string{"guest/kernel/capability", "guest/mmio", "guest/dma"}
	minter = "guest/board/..."
)

// Who serves a system call acts for the task that runs: only the packages of server may name the
// function that does.
const (
	serves = "guest/kernel.SystemCall"
	server = "guest/arch/..."
)

// layerOf finds the layer of a directory, or nil.
func layerOf(dir string) *layer {
	for i := range layers {
		if within(dir, layers[i].packages) {
			return &layers[i]
		}
	}
	return nil
}

// within reports whether a directory is the one that pattern names, or lies below it if
// pattern ends in "/...".
func within(dir, pattern string) bool {
	base, tree := strings.CutSuffix(pattern, "/...")
	return dir == base || tree && strings.HasPrefix(dir, base+"/")
}

// withinAny reports whether one of the patterns fits.
func withinAny(dir string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return within(dir, p) })
}
