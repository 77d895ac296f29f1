package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/vmm"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with the file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestHelp(t *testing.T) { golden(t, "testdata/help.golden", helpText) }

func TestDoctorTables(t *testing.T) {
	cpuinfo, err := os.ReadFile("testdata/cpuinfo")
	require.NoError(t, err)
	capabilities := []vmm.Capability{
		{Name: "KVM_CAP_IMMEDIATE_EXIT", Use: "stop a running guest", Have: true, Needed: true},
		{Name: "KVM_CAP_TSC_DEADLINE_TIMER", Use: "exact timers"},
	}
	noDevice := errors.New("cannot open /dev/kvm: no such file or directory: load the module")
	host := hostFindings(fstest.MapFS{
		"vulnerabilities/meltdown":      {Data: []byte("Mitigation: PTI\n")},
		"vulnerabilities/mds":           {Data: []byte("Vulnerable: Clear CPU buffers attempted, no microcode; SMT vulnerable\n")},
		"vulnerabilities/itlb_multihit": {Data: []byte("KVM: Vulnerable\n")},
		"vulnerabilities/srbds":         {Data: []byte("Not affected\n")},
		"vulnerabilities/retbleed":      {Data: []byte("Not affected\n")},
		"smt/active":                    {Data: []byte("1\n")},
	})
	open, closed := plan(0), plan(1<<0|1<<1|1<<5|1<<8)
	for _, test := range []struct {
		golden string
		d      diagnosis
	}{
		{"testdata/doctor-meltdown.golden", diagnosis{host: host, plan: open, capabilities: capabilities, qemuVersion: "7.2.22"}},
		{"testdata/doctor-mitigations.golden", diagnosis{host: host, landlock: 7, seccomp: true, plan: closed, capabilities: capabilities, qemuVersion: "7.2.22"}},
		{"testdata/doctor-kvm.golden", diagnosis{capabilities: capabilities, qemuVersion: "7.2.22"}},
		{"testdata/doctor-qemu.golden", diagnosis{capabilities: capabilities, probe: errors.New("a software KVM, no SSE"), qemuVersion: "7.2.22"}},
		{"testdata/doctor-nothing.golden", diagnosis{device: noDevice, probe: noDevice, qemu: errors.New("not found: install QEMU")}},
		{"testdata/doctor-capability.golden", diagnosis{
			capabilities: []vmm.Capability{{Name: "KVM_CAP_SPLIT_IRQCHIP", Use: "interrupts", Needed: true}},
			probe:        errors.New("KVM_CAP_SPLIT_IRQCHIP is missing"), qemuVersion: "7.2.22"}},
	} {
		t.Run(test.golden, func(t *testing.T) {
			test.d.cpu = cpuFindings(string(cpuinfo))
			var out bytes.Buffer
			test.d.write(&out)
			golden(t, test.golden, out.String())
		})
	}
}

// plan is the kernel's on a processor of Intel's that has IA32_ARCH_CAPABILITIES.
func plan(capabilities uint64) *mitigation.Plan {
	processor := mitigation.ReadProcessor(func(leaf, _ uint32) (a, b, c, d uint32) {
		if leaf == 7 {
			return 0, 1 << 7, 0, 1<<10 | 1<<26 | 1<<29
		}
		return 7, 0x756e6547, 0x6c65746e, 0x49656e69 // GenuineIntel
	}, func(uint32) uint64 { return capabilities })
	p := processor.Plan(mitigation.Auto)
	return &p
}

func TestHostThatDoesNotTell(t *testing.T) {
	assert.Equal(t, []finding{{"host's mitigations", "?", "the host's kernel does not tell"}}, hostFindings(fstest.MapFS{}))
}

func TestHostWithoutSMT(t *testing.T) {
	all := hostFindings(fstest.MapFS{"vulnerabilities/mds": {Data: []byte("Not affected\n")}, "smt/active": {Data: []byte("0\n")}})
	assert.Equal(t, finding{"  SMT", "off", "no sibling thread shares the core"}, all[len(all)-1])
}

func TestCPUFindingsOfAnEmptyFile(t *testing.T) {
	assert.Equal(t, finding{"processor", "", ""}, cpuFindings("")[0])
}

func TestDiagnosisWorks(t *testing.T) {
	no := errors.New("no")
	for _, test := range []struct {
		name            string
		d               diagnosis
		auto, kvm, qemu bool
	}{
		{"both", diagnosis{}, true, true, true},
		{"only KVM", diagnosis{qemu: no}, true, true, false},
		{"only QEMU", diagnosis{probe: no}, true, false, true},
		{"neither", diagnosis{probe: no, qemu: no}, false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.auto, test.d.works(accelAuto))
			assert.Equal(t, test.kvm, test.d.works(accelKVM))
			assert.Equal(t, test.qemu, test.d.works(accelQEMU))
		})
	}
}

// The exit statuses of docs/abi.md, section 7, are told.
func TestHelpTellsTheGuestsStatuses(t *testing.T) {
	for _, want := range []string{
		"\n  1 to 99    the first task's exit code that is not 0 (above 99 or below 0: 99)\n",
		"\n  103        there was no task to run\n",
		"\n  105 to 127 reserved for the guest, but 122 to 125 are the monitor's\n",
		"tasks that are skipped at load do not count",
	} {
		assert.Contains(t, helpText, want)
	}
}
