//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// leaves are a processor's answers to CPUID, EAX to EDX by leaf.
type leaves map[uint32][4]uint32

func (l leaves) cpuid(leaf, subleaf uint32) (a, b, c, d uint32) {
	r := l[leaf]
	return r[0], r[1], r[2], r[3]
}

const hypervisorPresent = 1 << 31

func TestFeatures(t *testing.T) {
	kvm := [4]uint32{0x4000_0010, 0x4b4d564b, 0x564b4d56, 0x4d}
	for _, tt := range []struct {
		name        string
		leaves      leaves
		want        features
		cr4         uint64
		accelerator string
	}{
		{"the oldest CPU", leaves{0: {1}}, features{}, 0x6a0, "no hypervisor"},
		{"TCG", leaves{
			0:           {0xd},
			1:           {2: hypervisorPresent | 1<<21},
			7:           {1: 1<<7 | 1<<20, 2: 1 << 2},
			0x4000_0000: {0x4000_0001, 0x54474354, 0x43544743, 0x47435447},
			0x8000_0000: {0x8000_0008}, 0x8000_0001: {3: 1 << 26},
		}, features{x2apic: true, smep: true, smap: true, umip: true, gigabytePages: true,
			hypervisor: [12]byte([]byte("TCGTCGTCGTCG"))}, 0x300ea0, "QEMU TCG"},
		{"KVM with everything", leaves{
			0:           {0x16},
			1:           {2: hypervisorPresent | 1<<17 | 1<<21 | 1<<24},
			7:           {1: 1<<7 | 1<<20, 2: 1 << 2},
			0x4000_0000: kvm, 0x4000_0001: {1 << 3}, 0x4000_0010: {2_893_437},
			0x8000_0000: {0x8000_0001}, 0x8000_0001: {3: 1 << 26},
		}, features{pcid: true, x2apic: true, tscDeadline: true, smep: true, smap: true, umip: true, gigabytePages: true,
			hypervisor: [12]byte([]byte("KVMKVMKVM\x00\x00\x00")), tscKHz: 2_893_437, kvmClock: true}, 0x320ea0, "KVM"},
		{"leaves that are not there do not count", leaves{
			0:           {6},
			1:           {2: hypervisorPresent},
			7:           {1: ^uint32(0), 2: ^uint32(0)},
			0x4000_0000: {0x4000_000f, kvm[1], kvm[2], kvm[3]}, 0x4000_0010: {1},
			0x8000_0000: {0x8000_0000}, 0x8000_0001: {3: ^uint32(0)},
		}, features{hypervisor: [12]byte([]byte("KVMKVMKVM\x00\x00\x00"))}, 0x6a0, "KVM"},
		{"no hypervisor says so", leaves{
			0: {1}, 0x4000_0000: kvm, 0x4000_0010: {1},
		}, features{}, 0x6a0, "no hypervisor"},
		{"another hypervisor", leaves{
			0: {1}, 1: {2: hypervisorPresent}, 0x4000_0000: {0x4000_0000, 0x41414141, 0x41414141, 0x41414141},
		}, features{hypervisor: [12]byte([]byte("AAAAAAAAAAAA"))}, 0x6a0, "an unknown hypervisor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := readFeatures(tt.leaves.cpuid)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.cr4, got.cr4())
			assert.Equal(t, tt.accelerator, got.accelerator())
		})
	}
}

// The control registers hold what the SDM says (vol. 3, 2.5), bit by bit.
func TestControlRegisters(t *testing.T) {
	assert.EqualValues(t, 0x80010033, cr0, "PE, MP, ET, NE, WP, PG; EM and TS clear")
	assert.EqualValues(t, 0xd01, efer, "SCE, LME, LMA, NXE")
	all := features{pcid: true, smep: true, smap: true, umip: true}
	for name, bit := range map[string]uint{"PAE": 5, "PGE": 7, "OSFXSR": 9, "OSXMMEXCPT": 10, "UMIP": 11, "PCIDE": 17, "SMEP": 20, "SMAP": 21} {
		assert.EqualValues(t, 1, all.cr4()>>bit&1, name)
	}
	assert.Zero(t, all.cr4()>>16&1, "FSGSBASE: the kernel saves the bases, but ring 3 shall ask for them")
}
