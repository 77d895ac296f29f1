package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestQEMUArguments(t *testing.T) {
	for _, test := range []struct {
		golden string
		o      *options
	}{
		{"testdata/qemu.golden", &options{rig: "/rig", cpu: defaultCPU, mem: 768}},
		{"testdata/qemu-icount.golden", &options{rig: "/rig", cpu: "max", mem: 1024, icount: true}},
		{"testdata/qemu-host-time.golden", &options{rig: "/rig", cpu: defaultCPU, mem: 768, hostTime: true}},
	} {
		t.Run(test.golden, func(t *testing.T) {
			got := strings.Join(qemuArguments(test.o, "/initrd", "/console"), "\n") + "\n"
			if *update {
				require.NoError(t, os.WriteFile(test.golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(test.golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}
