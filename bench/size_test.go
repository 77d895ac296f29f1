package bench

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/image"
)

// What it finds in an image and its kernel is tested where images are built:
// tools/mkimage, TestSizes.
func TestKernelSizesRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o644))
		return path
	}
	flat := file("flat.elf", image.Flat([]byte{0xf4}, 0)) // code that may be written: one segment
	for _, tt := range []struct{ name, image, want string }{
		{"no image", filepath.Join(dir, "none.elf"), "no such file"},
		{"no ELF file", file("text", []byte("hello, this is a letter, not an image of a kernel, and it is long enough")), "text\": bad magic number"},
		{"not mkimage's", flat, "flat.elf\": no segment of data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := KernelSizes(tt.image, flat)
			assert.ErrorContains(t, err, tt.want)
		})
	}
	self, err := os.Executable() // a Go program has all that an image has
	require.NoError(t, err)
	for _, tt := range []struct{ name, kernel, want string }{
		{"no kernel", filepath.Join(dir, "none.elf"), "no such file"},
		{"a kernel without sections", flat, "no section .text"},
		{"another one's kernel", self, "its code is not that of the image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := KernelSizes(self, tt.kernel)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestGoals(t *testing.T) {
	most, ok := Goal("NullCommand")
	assert.True(t, ok)
	assert.Equal(t, 110.0, most)
	_, ok = Goal("Empty")
	assert.False(t, ok)
	most, ok = GoalOfExits("VirtioConsoleWrite4096")
	assert.True(t, ok)
	assert.Equal(t, 2.0, most)
	_, ok = GoalOfExits("NullCommand")
	assert.False(t, ok)
}

func TestLacks(t *testing.T) {
	r := new(Run)
	for name := range goals {
		r.Results = append(r.Results, Result{Name: name})
	}
	assert.Empty(t, r.Lacks())
	r.Skipped = []Skip{{"TaskSwitch", "no peer"}, {"ExitMMIO", "no device"}}
	assert.Equal(t, []string{"ExitMMIO", "TaskSwitch"}, r.Lacks())
	r.Results = slices.DeleteFunc(r.Results, func(x Result) bool { return x.Name == "TaskSwitch" || x.Name == "MinimalMemory" })
	assert.Equal(t, []string{"ExitMMIO", "MinimalMemory", "TaskSwitch"}, r.Lacks())
}
