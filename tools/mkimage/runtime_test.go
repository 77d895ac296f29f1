package main

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// guest/runtime's memory functions cannot be called by name: the host has its own. So their
// machine code, which refers to nothing but its arguments, is taken from the kernel and
// called by Go's register convention.
func function[F any](t *testing.T, name string) F {
	t.Helper()
	f := open(t, "kernel.elf")
	symbols, err := f.Symbols()
	require.NoError(t, err)
	var code []byte
	for _, s := range symbols {
		if s.Name == name && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			code = make([]byte, s.Size)
			text := f.Section(".text")
			_, err := text.ReadAt(code, int64(s.Value-text.Addr))
			require.NoError(t, err)
		}
	}
	require.NotEmpty(t, code, name)
	pages, err := syscall.Mmap(-1, 0, (len(code)+4095)&^4095, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(pages)) })
	copy(pages, code)
	require.NoError(t, syscall.Mprotect(pages, syscall.PROT_READ|syscall.PROT_EXEC))
	closure := &struct{ code *byte }{&pages[0]}
	return *(*F)(unsafe.Pointer(&closure))
}

// sizes are all small ones and some around every change of method.
func sizes() []int {
	var n []int
	for i := range 600 {
		n = append(n, i)
	}
	return append(n, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193, 70000)
}

// noise returns n bytes with room around them.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

const margin = 64

func TestRuntimeMemmove(t *testing.T) {
	memmove := function[func(to, from unsafe.Pointer, n uintptr)](t, "runtime.memmove")
	for _, n := range sizes() {
		for _, shift := range []int{-n - 1, -n, -n / 2, -17, -16, -9, -8, -1, 0, 1, 7, 8, 15, 16, 33, n / 2, n, n + 1} {
			// from and to within one array, overlapping or not
			from, to := margin, margin+shift
			if shift < 0 {
				from, to = margin-shift, margin
			}
			got := noise(2*margin + max(from, to) + n)
			want := append([]byte(nil), got...)
			copy(want[to:to+n], want[from:from+n])
			memmove(unsafe.Pointer(&got[to]), unsafe.Pointer(&got[from]), uintptr(n))
			if !bytes.Equal(want, got) {
				t.Fatalf("%d bytes moved by %d", n, shift)
			}
		}
	}
}

func TestRuntimeMemclr(t *testing.T) {
	memclr := function[func(p unsafe.Pointer, n uintptr)](t, "runtime.memclrNoHeapPointers")
	for _, n := range sizes() {
		for at := margin; at < margin+16; at++ {
			got := noise(n + 2*margin)
			want := append([]byte(nil), got...)
			clear(want[at : at+n])
			memclr(unsafe.Pointer(&got[at]), uintptr(n))
			if !bytes.Equal(want, got) {
				t.Fatalf("%d bytes at %d", n, at)
			}
		}
	}
}

func TestRuntimeMemequal(t *testing.T) {
	memequal := function[func(p, q unsafe.Pointer, n uintptr) bool](t, "runtime.memequal")
	for _, n := range sizes() {
		a := noise(n + 2)
		b := append([]byte{0}, a...)
		p, q := unsafe.Pointer(&a[0]), unsafe.Pointer(&b[1])
		assert.True(t, memequal(p, q, uintptr(n)), "%d equal bytes", n)
		assert.True(t, memequal(p, p, uintptr(n)), "%d bytes and themselves", n)
		for i := 0; i < n; i += max(1, n/64) {
			b[1+i] ^= 0x80
			if memequal(p, q, uintptr(n)) {
				t.Fatalf("%d bytes of which number %d differs", n, i)
			}
			b[1+i] ^= 0x80
		}
		b[1+n] ^= 1
		assert.True(t, memequal(p, q, uintptr(n)), "a byte behind %d", n)
	}
}
