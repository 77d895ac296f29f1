package vmm

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

// TestHardware: only a module that is alive says that KVM is the processor's.
func TestHardware(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"VT-x", map[string]string{"kvm/initstate": "live\n", "kvm_intel/initstate": "live\n"}, true},
		{"SVM", map[string]string{"kvm/initstate": "live\n", "kvm_amd/initstate": "live\n"}, true},
		{"another KVM", map[string]string{"kvm/initstate": "live\n", "kvm_pvm/initstate": "live\n"}, false},
		{"it is still being loaded", map[string]string{"kvm_intel/initstate": "coming\n"}, false},
		{"it goes", map[string]string{"kvm_amd/initstate": "going\n"}, false},
		{"built in, and perhaps off", map[string]string{"kvm_intel/parameters/ept": "Y\n", "kvm_amd/parameters/npt": "1\n"}, false},
		{"nothing is known", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range test.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			assert.Equal(t, test.want, hardware(files))
		})
	}
}
