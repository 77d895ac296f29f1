package kvm

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ioPage returns a kvm_run of two pages with a port access in it.
func ioPage(direction, size byte, port uint16, count uint32, offset uint64) []byte {
	run := make([]byte, 8192)
	run[offIODirection] = direction
	run[offIOSize] = size
	little.PutUint16(run[offIOPort:], port)
	little.PutUint32(run[offIOCount:], count)
	little.PutUint64(run[offIOData:], offset)
	return run
}

func TestDecodeIO(t *testing.T) {
	for _, tt := range []struct {
		name   string
		run    []byte
		length int
		err    string
	}{
		{name: "one byte out", run: ioPage(1, 1, 0x3f8, 1, 4096), length: 1},
		{name: "a whole page", run: ioPage(1, 4, 0x3f8, 1024, 4096), length: 4096},
		{name: "nothing at the end", run: ioPage(0, 1, 0x80, 0, 8192), length: 0},
		{name: "three bytes wide", run: ioPage(1, 3, 0x80, 1, 4096), err: "access of 3 bytes"},
		{name: "no width", run: ioPage(1, 0, 0x80, 1, 4096), err: "access of 0 bytes"},
		{name: "one byte too many", run: ioPage(1, 1, 0x80, 4097, 4096), err: "beyond kvm_run"},
		{name: "offset beyond the page", run: ioPage(1, 1, 0x80, 1, 8193), err: "beyond kvm_run"},
		{name: "offset that wraps", run: ioPage(1, 1, 0x80, 2, ^uint64(0)), err: "beyond kvm_run"},
		{name: "count that wraps", run: ioPage(1, 4, 0x80, ^uint32(0), 4096), err: "beyond kvm_run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			io, err := decodeIO(tt.run)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Len(t, io.Data, tt.length)
			assert.Equal(t, tt.length, cap(io.Data), "appending must not reach beyond")
		})
	}
	io, err := decodeIO(ioPage(1, 2, 0xcf8, 3, 4096))
	require.NoError(t, err)
	assert.Equal(t, uint16(0xcf8), io.Port)
	assert.Equal(t, 2, io.Size)
	assert.True(t, io.Write)
}

func TestDecodeMMIO(t *testing.T) {
	page := func(length uint32, write byte) []byte {
		run := make([]byte, 4096)
		little.PutUint64(run[offMMIOAddress:], 0xfec0_0010)
		little.PutUint32(run[offMMIOLength:], length)
		run[offMMIOWrite] = write
		return run
	}
	for _, length := range []uint32{1, 4, 8} {
		m, err := decodeMMIO(page(length, 1))
		require.NoError(t, err)
		assert.Equal(t, uint64(0xfec0_0010), m.Address)
		assert.True(t, m.Write)
		assert.Len(t, m.Data, int(length))
	}
	for _, length := range []uint32{0, 9, ^uint32(0)} {
		_, err := decodeMMIO(page(length, 0))
		assert.ErrorContains(t, err, "KVM_EXIT_MMIO", "%d bytes", length)
	}
}

func TestFailure(t *testing.T) {
	emulation := make([]byte, 4096)
	little.PutUint32(emulation[offSuberror:], 1)
	little.PutUint32(emulation[offNData:], 3)
	little.PutUint64(emulation[offFlags:], 1)
	emulation[offInsnSize] = 3
	copy(emulation[offInsnBytes:], []byte{0x0f, 0x57, 0xc9})
	assert.Contains(t, failure(ExitInternalError, emulation), "emulate and cannot: instruction bytes 0f 57 c9")

	emulation[offInsnSize] = 200 // more than an instruction can have
	assert.NotContains(t, failure(ExitInternalError, emulation), "bytes")

	assert.Contains(t, failure(ExitFailEntry, make([]byte, 4096)), "refused to enter the guest")
	assert.Equal(t, "KVM exit reason 777", failure(777, make([]byte, 4096)))
}

func TestErrorNamesCallAndErrno(t *testing.T) {
	err := &Error{setSregs.String(), syscall.EINVAL}
	assert.EqualError(t, err, "KVM_SET_SREGS: invalid argument (EINVAL)")
	assert.ErrorIs(t, err, syscall.EINVAL)
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	_, err := Open("/nonexistent/kvm")
	assert.ErrorContains(t, err, "cannot open /nonexistent/kvm: no such file or directory: load the kvm_intel or kvm_amd module")

	_, err = Open("/dev/null") // opens, and knows no request
	assert.ErrorContains(t, err, "KVM_GET_API_VERSION")
}

func TestCloseIsIdempotent(t *testing.T) {
	fds := make([]int, 2)
	require.NoError(t, syscall.Pipe(fds))
	defer syscall.Close(fds[1])
	d := &Device{fds[0]}
	require.NoError(t, d.Close())
	assert.NoError(t, d.Close())
}
