package vmm

import (
	"encoding/binary"
	"fmt"
	"strings"

	"kapsel/vmm/kvm"
	"kapsel/vmm/snapshot"
)

// maxDifferences is how many differences of processors are told.
const maxDifferences = 4

// frequencyTolerance is the difference of two counters' frequencies, in millionths, that a guest does not notice: Linux takes two
// measurements of one counter for the same then.
const frequencyTolerance = 250

// checkHost says in what the processor that a snapshot was taken of differs from a guest's on this host; nil if in nothing.
func checkHost(g *snapshot.Guest, cpuid []kvm.CPUIDEntry, tscKHz uint32) error {
	if vendor := vendor(cpuid); g.Vendor != vendor {
		return fmt.Errorf("the snapshot is of a processor of %.40q, this host's is of %q", g.Vendor, vendor)
	}
	if differences := differences(g.CPUID, cpuid); len(differences) > 0 {
		return fmt.Errorf("the snapshot is of another processor than this host's: %s", strings.Join(differences, "; "))
	}
	low, high := uint64(min(g.TSCKHz, tscKHz)), uint64(max(g.TSCKHz, tscKHz))
	if (high-low)*1_000_000 > high*frequencyTolerance {
		return fmt.Errorf("the snapshot is of a processor whose time-stamp counter has %d kHz, this host's has %d kHz", g.TSCKHz, tscKHz)
	}
	return nil
}

// vendor returns the processor's maker by CPUID leaf 0: "GenuineIntel".
func vendor(cpuid []kvm.CPUIDEntry) string {
	e := leaf(cpuid, 0, 0)
	var name []byte
	for _, word := range []uint32{e.Ebx, e.Edx, e.Ecx} {
		name = binary.LittleEndian.AppendUint32(name, word)
	}
	return string(name)
}

// differences tells in which registers of which leaves two lists differ.
func differences(theirs, ours []kvm.CPUIDEntry) (all []string) {
	add := func(format string, args ...any) {
		switch {
		case len(all) < maxDifferences:
			all = append(all, fmt.Sprintf(format, args...))
		case len(all) == maxDifferences:
			all = append(all, "and more")
		}
	}
	type key struct{ function, index uint32 }
	have := map[key]kvm.CPUIDEntry{}
	for _, e := range ours {
		have[key{e.Function, e.Index}] = e
	}
	for _, e := range theirs {
		k := key{e.Function, e.Index}
		o, ok := have[k]
		delete(have, k)
		if !ok {
			add("CPUID leaf %#x.%d is the snapshot's alone", e.Function, e.Index)
			continue
		}
		for _, r := range []struct {
			name         string
			theirs, ours uint32
		}{{"EAX", e.Eax, o.Eax}, {"EBX", e.Ebx, o.Ebx}, {"ECX", e.Ecx, o.Ecx}, {"EDX", e.Edx, o.Edx}, {"flags", e.Flags, o.Flags}} {
			if r.theirs != r.ours {
				add("CPUID leaf %#x.%d %s is %#x in the snapshot and %#x here", e.Function, e.Index, r.name, r.theirs, r.ours)
			}
		}
	}
	for _, e := range ours {
		if _, only := have[key{e.Function, e.Index}]; only {
			add("CPUID leaf %#x.%d is this host's alone", e.Function, e.Index)
		}
	}
	return all
}
