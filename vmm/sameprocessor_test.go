package vmm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/kvm"
	"kapsel/vmm/snapshot"
)

func TestSnapshotOfAnotherProcessor(t *testing.T) {
	here := []kvm.CPUIDEntry{
		{Function: 0, Eax: 13, Ebx: 0x756e6547, Edx: 0x49656e69, Ecx: 0x6c65746e},
		{Function: 1, Eax: 0x806f8, Ecx: 5}, {Function: 7, Index: 0, Edx: 1 << 26}, {Function: 7, Index: 1},
	}
	for _, tt := range []struct {
		name   string
		change func(g *snapshot.Guest)
		want   string // "" is none
	}{
		{"the same", func(g *snapshot.Guest) {}, ""},
		{"in another order", func(g *snapshot.Guest) { g.CPUID[1], g.CPUID[2] = g.CPUID[2], g.CPUID[1] }, ""},
		{"another vendor", func(g *snapshot.Guest) { g.Vendor = "AuthenticAMD" },
			`the snapshot is of a processor of "AuthenticAMD", this host's is of "GenuineIntel"`},
		{"another model", func(g *snapshot.Guest) { g.CPUID[1].Eax = 0x906ea },
			"the snapshot is of another processor than this host's: CPUID leaf 0x1.0 EAX is 0x906ea in the snapshot and 0x806f8 here"},
		{"a leaf more", func(g *snapshot.Guest) { g.CPUID = append(g.CPUID, kvm.CPUIDEntry{Function: 0x80000001}) },
			"the snapshot is of another processor than this host's: CPUID leaf 0x80000001.0 is the snapshot's alone"},
		{"a leaf less", func(g *snapshot.Guest) { g.CPUID = g.CPUID[:3] },
			"the snapshot is of another processor than this host's: CPUID leaf 0x7.1 is this host's alone"},
		{"all different", func(g *snapshot.Guest) {
			for i := range g.CPUID {
				g.CPUID[i].Flags, g.CPUID[i].Eax = 9, 99
			}
		}, "the snapshot is of another processor than this host's: CPUID leaf 0x0.0 EAX is 0x63 in the snapshot and 0xd here; " +
			"CPUID leaf 0x0.0 flags is 0x9 in the snapshot and 0x0 here; CPUID leaf 0x1.0 EAX is 0x63 in the snapshot and 0x806f8 here; " +
			"CPUID leaf 0x1.0 flags is 0x9 in the snapshot and 0x0 here; and more"},
		{"a little faster", func(g *snapshot.Guest) { g.TSCKHz = 2_000_400 }, ""},
		{"faster", func(g *snapshot.Guest) { g.TSCKHz = 2_000_600 },
			"the snapshot is of a processor whose time-stamp counter has 2000600 kHz, this host's has 2000000 kHz"},
		{"no frequency", func(g *snapshot.Guest) { g.TSCKHz = 0 },
			"the snapshot is of a processor whose time-stamp counter has 0 kHz, this host's has 2000000 kHz"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &snapshot.Guest{Vendor: "GenuineIntel", CPUID: append([]kvm.CPUIDEntry(nil), here...), TSCKHz: 2_000_000}
			tt.change(g)
			err := checkHost(g, here, 2_000_000)
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				assert.EqualError(t, err, tt.want)
			}
		})
	}
}
