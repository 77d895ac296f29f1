package snapshot

import (
	"sync/atomic"

	"kapsel/vmm/disk"
)

// Snapshot is a machine that stands still, of which others are made (vmm.Fork) and to which one goes back (Machine.Reset). It does
// not change, and is safe for concurrent use.
type Snapshot struct {
	State  State
	Memory *Memory
	Disks  []*disk.Layer // what was written to each of State.PrivateDisks

	closed atomic.Bool
}

// Close gives the snapshot back. Its memory goes when no machine uses it any more. Calling it again does nothing.
func (s *Snapshot) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.Memory.Release()
}
