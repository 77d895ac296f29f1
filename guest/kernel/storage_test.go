package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// TestStoragePermissions: what a task may do is what the lists of its own object say; 0 is nobody's identifier.
func TestStoragePermissions(t *testing.T) {
	all := []uint32{0, 1, 2, 3}
	for _, tt := range []struct {
		name         string
		object       *tbfbuild.Storage
		has          bool
		write        uint32 // 0: the task may not store
		read, modify []uint32
	}{
		{name: "an object without"},
		{name: "empty ones", object: &tbfbuild.Storage{}, has: true},
		{name: "all of them", object: &tbfbuild.Storage{WriteID: 1, Read: []uint32{1, 2}, Modify: []uint32{3}}, has: true,
			write: 1, read: []uint32{1, 2}, modify: []uint32{3}},
		{name: "one's own is not allowed by itself", object: &tbfbuild.Storage{WriteID: 2}, has: true, write: 2},
		{name: "nobody's is never allowed", object: &tbfbuild.Storage{Read: []uint32{0, 1}, Modify: []uint32{0}}, has: true,
			read: []uint32{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
				p, ok := m.Kernel.StoragePermissions(id)
				assert.Equal(t, tt.has, ok)
				write, ok := p.WriteID()
				assert.Equal(t, tt.write != 0, ok)
				assert.Equal(t, tt.write, write)
				var read, modify []uint32
				for _, id := range all {
					if p.MayRead(id) {
						read = append(read, id)
					}
					if p.MayModify(id) {
						modify = append(modify, id)
					}
				}
				assert.Equal(t, tt.read, read)
				assert.Equal(t, tt.modify, modify)
				return kernel.Done()
			}
			m.AddTask("task", func(k *kerneltest.Task) { k.Command(probeDriver, probeHook, 0, 0) },
				func(s *tbfbuild.Spec) { s.Storage = tt.object })
			assert.False(t, m.Run())
		})
	}
}

// TestStoragePermissionsOfATaskThatEnded are none.
func TestStoragePermissionsOfATaskThatEnded(t *testing.T) {
	m := newMachine(t)
	var ended kernel.TaskID
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		ended = id
		return kernel.Done()
	}
	m.AddTask("task", func(k *kerneltest.Task) { k.Command(probeDriver, probeHook, 0, 0) },
		func(s *tbfbuild.Spec) { s.Storage = &tbfbuild.Storage{WriteID: 1, Read: []uint32{1}} })
	assert.False(t, m.Run())
	p, ok := m.Kernel.StoragePermissions(ended)
	assert.False(t, ok)
	_, ok = p.WriteID()
	assert.False(t, ok)
	assert.False(t, p.MayRead(1))
}
