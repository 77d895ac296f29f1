package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
	for _, test := range []struct {
		golden string
		d      diagnosis
	}{
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
		"\n  104 to 127 reserved for the guest, but 122 to 125 are the monitor's\n",
		"tasks that are skipped at load do not count",
	} {
		assert.Contains(t, helpText, want)
	}
}
