package onepage

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
	"kapsel/vmm/kvm"
)

// newCPU makes a bare processor, which belongs to the calling thread.
func newCPU(t *testing.T) *kvm.VCPU {
	t.Helper()
	needKVM(t)
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	host, err := kvm.Open(vmm.DefaultKVM)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, host.Close()) })
	vm, err := host.CreateVM()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, vm.Close()) })
	cpu, err := vm.CreateVCPU(0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cpu.Close()) })
	return cpu
}

// A call's answer arrives whatever Go does to the caller's stack: each of these calls comes
// from the small stack of a new goroutine, at a different depth.
func TestCallsSurviveMovingStacks(t *testing.T) {
	cpu := newCPU(t)
	for i := range uint64(2000) {
		var wg sync.WaitGroup
		wg.Go(func() {
			deep(int(i%40), func() {
				physical, ok, err := cpu.Translate(i)
				assert.NoError(t, err)
				assert.True(t, ok, "a processor after reset translates nothing")
				assert.Equal(t, i, physical)
			})
		})
		wg.Wait()
	}
}

// deep calls f with n more frames of 100 bytes on the stack.
func deep(n int, f func()) {
	var frame [100]byte
	if n > 0 {
		deep(n-1, f)
	} else {
		f()
	}
	runtime.KeepAlive(frame)
}

func TestRegistersRoundTrip(t *testing.T) {
	cpu := newCPU(t)
	want := &kvm.Regs{RAX: 1, RBX: 2, R15: 15, RIP: 0x1234, RFLAGS: 2}
	require.NoError(t, cpu.SetRegs(want))
	got, err := cpu.Regs()
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// After a kick KVM runs the guest no more, and says that this is no exit.
func TestKickBeforeRun(t *testing.T) {
	cpu := newCPU(t)
	require.NoError(t, cpu.Kick())
	for range 3 {
		assert.ErrorIs(t, cpu.Run(), kvm.ErrInterrupted)
	}
}

func TestErrorsNameTheCall(t *testing.T) {
	cpu := newCPU(t)
	s, err := cpu.Sregs()
	require.NoError(t, err)
	s.CR0, s.EFER = 1<<31, 1<<10 // paging without protection, long mode active but not enabled
	assert.EqualError(t, cpu.SetSregs(s), "KVM_SET_SREGS: invalid argument (EINVAL)")
}
