package vmm

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/kvm"
)

// Every register that the kernel names is one that its machine has, but those of x2APIC, which no filter refuses.
func TestKernelsMSRsAreAllowed(t *testing.T) {
	source, err := os.ReadFile("../guest/arch/amd64/registers.go")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^\s(msr\w+)\s+= (0x[0-9a-f]+)`).FindAllSubmatch(source, -1)
	require.Greater(t, len(found), 10)
	for _, f := range found {
		index, err := strconv.ParseUint(string(f[2]), 0, 32)
		require.NoError(t, err)
		assert.True(t, index == 0x800 || allowed(uint32(index)), "%s, %#x", f[1], index)
	}
	for _, index := range []uint32{msrTSC, 0x3b, 0x1a0, 0x1d9, 0x277, msrKernelGSBase, 0xc000_0103, 0xc001_0015} {
		assert.False(t, allowed(index), "%#x", index)
	}
}

func allowed(index uint32) bool {
	for _, r := range imageMSRs {
		if index >= r.Base && index-r.Base < r.Count {
			return true
		}
	}
	return false
}

// What the guest may write and what holds something is saved: with the other registers, or by its number.
func TestMSRsThatAreSaved(t *testing.T) {
	indices := func(cpuid ...kvm.CPUIDEntry) (all []uint32) {
		for _, r := range savedMSRs(cpuid, false) {
			all = append(all, r.Index)
		}
		return all
	}
	always := []uint32{msrSysenterCS, msrSTAR, msrLSTAR, msrCSTAR, msrFMASK, msrKernelGSBase}
	assert.Equal(t, always, indices())
	assert.Equal(t, append(always, msrSpecCtrl, msrKVMClock, msrTSCDeadline), indices(
		kvm.CPUIDEntry{Function: leafFeatures, Ecx: featureDeadline},
		kvm.CPUIDEntry{Function: leafExtended, Edx: 1 << 26},
		kvm.CPUIDEntry{Function: leafKVMFeatures, Eax: featureKVMClock}), "the timer is the last")
	assert.Contains(t, indices(kvm.CPUIDEntry{Function: leafAMDCores, Ebx: 1 << 14}), uint32(msrSpecCtrl))
	assert.Contains(t, savedMSRs(nil, true), kvm.MSR{Index: msrSMBase}, "which RSM changes")
	elsewhere := map[uint32]bool{ // kvm.Sregs, or nothing is held
		msrAPICBase: true, msrPredCmd: true, msrEFER: true, msrFSBase: true, msrGSBase: true,
	}
	all := indices(kvm.CPUIDEntry{Function: leafFeatures, Ecx: featureDeadline},
		kvm.CPUIDEntry{Function: leafExtended, Edx: 1 << 26}, kvm.CPUIDEntry{Function: leafKVMFeatures, Eax: featureKVMClock})
	for _, r := range imageMSRs {
		for index := r.Base; r.Write && index < r.Base+r.Count; index++ {
			assert.True(t, elsewhere[index] || slices.Contains(all, index), "%#x", index)
		}
	}
}
