//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/kernel"
)

// Processors by CPUID and IA32_ARCH_CAPABILITIES, as package mitigation's tests have more of.
func setProcessor(p *processor, vendor [3]uint32, leaves map[[2]uint32][4]uint32, has uint64) {
	p.leaves = leaves
	p.leaves[[2]uint32{0, 0}] = [4]uint32{0x20, vendor[0], vendor[2], vendor[1]}
	p.msr[0x10a] = has
}

var (
	intelVendor = [3]uint32{0x756e6547, 0x49656e69, 0x6c65746e}
	amdVendor   = [3]uint32{0x68747541, 0x69746e65, 0x444d4163}
)

func sapphireRapids(p *processor) {
	setProcessor(p, intelVendor, map[[2]uint32][4]uint32{
		{7, 0}: {2, 1 << 7, 0, 1<<10 | 1<<26 | 1<<27 | 1<<29 | 1<<31}, {7, 2}: {3: 1<<2 | 1<<4},
	}, 1<<0|1<<1|1<<5|1<<8)
}

func skylake(p *processor) {
	setProcessor(p, intelVendor, map[[2]uint32][4]uint32{{7, 0}: {0, 1 << 7, 0, 1<<10 | 1<<26 | 1<<29}}, 0)
}

func zen4(p *processor) {
	setProcessor(p, amdVendor, map[[2]uint32][4]uint32{
		{7, 0}: {0, 1 << 7}, {0x8000_0000, 0}: {0x8000_0021}, {0x8000_0008, 0}: {1: 1 << 12}, {0x8000_0021, 0}: {1<<5 | 1<<8},
	}, 0)
}

func emulator(p *processor) {
	setProcessor(p, amdVendor, map[[2]uint32][4]uint32{{7, 0}: {0, 1 << 7}}, 0)
}

func TestMitigate(t *testing.T) {
	const (
		specCtrl, efer = 0x48, 0xc0000080
		automaticIBRS  = 0xd01 | 1<<21
	)
	for _, tt := range []struct {
		name      string
		processor func(*processor)
		level     mitigation.Level
		writes    []registerWrite
		verw      bool
	}{
		{"Sapphire Rapids, off", sapphireRapids, mitigation.Off, nil, false},
		{"Sapphire Rapids, auto", sapphireRapids, mitigation.Auto, []registerWrite{{"MSR", specCtrl, 0x441}}, false},
		{"Sapphire Rapids, full", sapphireRapids, mitigation.Full,
			[]registerWrite{{"MSR", specCtrl, 0x447}}, true},
		{"Skylake, off", skylake, mitigation.Off, nil, false},
		{"Skylake, auto", skylake, mitigation.Auto, nil, true},
		{"Zen 4, off", zen4, mitigation.Off, nil, false},
		{"Zen 4, auto", zen4, mitigation.Auto, []registerWrite{{"MSR", efer, automaticIBRS}}, true},
		{"QEMU's emulator, auto", emulator, mitigation.Auto, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newHostCPU(t)
			uncleared = ^uint64(0)
			tt.processor(p)
			m := &Machine{}
			m.Mitigate(tt.level)
			assert.Equal(t, tt.writes, p.writes)
			if tt.verw {
				assert.Zero(t, uncleared)
			} else {
				assert.Equal(t, ^uint64(0), uncleared)
			}
			var said text
			m.PrintMitigations(&said)
			assert.Contains(t, said.s, "Mitigations: ")
		})
	}
	uncleared = ^uint64(0)
}

// tasksOf makes a CPU with tasks of these ShortIDs that make system calls, under a level.
func tasksOf(t *testing.T, level mitigation.Level, shortIDs ...uint32) *CPU {
	t.Helper()
	c := startTasks(t, len(shortIDs), false)
	zen4(hostCPU)
	for slot, id := range shortIDs {
		s := testStart
		s.ShortID = id
		c.Start(slot, s)
	}
	processor := mitigation.ReadProcessor(cpuid, rdmsr)
	c.plan = processor.Plan(level)
	hostCPU.task = systemCall
	return c
}

// barriers counts the writes of IBPB.
func barriers(p *processor) int {
	n := 0
	for _, w := range p.writes {
		if w == (registerWrite{"MSR", 0x49, 1}) {
			n++
		}
	}
	return n
}

func TestBarrierBetweenApplications(t *testing.T) {
	for _, tt := range []struct {
		name     string
		level    mitigation.Level
		shortIDs []uint32
		slots    []int
		want     int
	}{
		{"a task alone", mitigation.Full, []uint32{7}, []int{0, 0, 0}, 1},
		{"two applications", mitigation.Full, []uint32{7, 8}, []int{0, 1, 0, 1, 1}, 4},
		{"two tasks of one", mitigation.Full, []uint32{7, 7}, []int{0, 1, 0}, 1},
		{"tasks without a ShortID are nobody else's", mitigation.Full, []uint32{0, 0}, []int{0, 1, 0}, 3},
		{"auto has none", mitigation.Auto, []uint32{7, 8}, []int{0, 1, 0}, 0},
		{"off has none", mitigation.Off, []uint32{7, 8}, []int{0, 1, 0}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tasksOf(t, tt.level, tt.shortIDs...)
			for _, slot := range tt.slots {
				require.Equal(t, kernel.TrapSyscall, c.Switch(slot))
			}
			assert.Equal(t, tt.want, barriers(hostCPU))
		})
	}
}

// A task that was started anew may be another application's.
func TestBarrierBehindARestart(t *testing.T) {
	c := tasksOf(t, mitigation.Full, 7)
	c.Switch(0)
	s := testStart
	s.ShortID = 8
	c.Start(0, s)
	c.Switch(0)
	assert.Equal(t, 2, barriers(hostCPU))
}
