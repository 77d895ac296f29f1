package base

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

func TestReadCmdline(t *testing.T) {
	const refused = "command line: unknown word: "
	for _, tt := range []struct {
		name, line string
		want       Options
		said       string
	}{
		{"nothing", "", Options{}, ""},
		{"spaces", "   ", Options{}, ""},
		{"all flags", "boot-ticks no-dump fault=stop fault=panic", Options{BootTicks: true, NoDump: true, FaultStop: true, FaultPanic: true}, ""},
		{"the last of a kind counts", " mitigations=off  mitigations=full ", Options{Mitigations: mitigation.Full}, ""},
		{"auto", "mitigations=auto", Options{Mitigations: mitigation.Auto}, ""},
		{"off", "mitigations=off", Options{Mitigations: mitigation.Off}, ""},
		{"words that are none", "no-dum no-dump no-dumps", Options{NoDump: true},
			refused + "no-dum (want this)\n" + refused + "no-dumps (want this)\n"},
		{"bytes that are no text", "fault\x1b[2J", Options{}, refused + "fault?[2J (want this)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var o Options
			var log kerneltest.Log
			ReadCmdline([]byte(tt.line), &o, &log, "this")
			assert.Equal(t, tt.want, o)
			assert.Equal(t, tt.said, log.String())
		})
	}
}

func TestFaultPolicy(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
		want    kernel.FaultLimit
	}{
		{"restart with a dump", Options{}, kernel.FaultLimit{Restarts: 32, Dump: true}},
		{"in short", Options{NoDump: true}, kernel.FaultLimit{Restarts: 32}},
		{"stop", Options{FaultStop: true}, kernel.FaultLimit{Dump: true}},
		{"panic", Options{FaultPanic: true}, kernel.FaultLimit{Then: kernel.PanicKernel, Dump: true}},
		{"panic rather than stop", Options{FaultStop: true, FaultPanic: true, NoDump: true}, kernel.FaultLimit{Then: kernel.PanicKernel}},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, tt.options.FaultPolicy()) })
	}
}

func TestPrintLoaded(t *testing.T) {
	var log kerneltest.Log
	PrintLoaded(&log, 1)
	assert.Empty(t, log.String())
	PrintLoaded(&log, 0)
	assert.Equal(t, "no task to run: the image holds none that may run, and none came with it\n", log.String())
}
