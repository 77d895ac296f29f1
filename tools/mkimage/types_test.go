package main

import (
	"debug/elf"
	"encoding/binary"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadsTypes(t *testing.T) {
	const base, size = 0x1000, 16 // of functions in a row, of 16 bytes each
	for _, tt := range []struct {
		name  string
		calls [][2]string // who calls whom
		want  bool
	}{
		{"nobody", nil, false},
		{"a function of the kernel", [][2]string{{"main.f", "runtime.efaceeq"}}, true},
		{"readers each other", [][2]string{{"runtime.ifaceeq", "runtime.efaceeq"}}, false},
		{"a comparison that nobody calls", [][2]string{{"type:.eq.main.S", "runtime.efaceeq"}}, false},
		{"a comparison that the kernel calls", [][2]string{{"type:.eq.main.S", "runtime.efaceeq"}, {"main.f", "type:.eq.main.S"}}, true},
		{"by way of another one", [][2]string{{"type:.eq.main.S", "runtime.efaceeq"}, {"type:.eq.[2]main.S", "type:.eq.main.S"}, {"main.f", "type:.eq.[2]main.S"}}, true},
		{"a comparison that reads no type", [][2]string{{"main.f", "type:.eq.main.S"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var symbols []elf.Symbol
			addr := map[string]uint64{}
			for i, name := range []string{"main.f", "type:.eq.[2]main.S", "type:.eq.main.S", "runtime.ifaceeq", "runtime.efaceeq"} {
				addr[name] = base + size*uint64(i)
				symbols = append(symbols, elf.Symbol{Name: name, Info: byte(elf.STT_FUNC), Value: addr[name], Size: size})
			}
			code := make([]byte, size*len(symbols))
			for _, c := range tt.calls {
				at := addr[c[0]] - base
				code[at] = 0xe8
				binary.LittleEndian.PutUint32(code[at+1:], uint32(addr[c[1]]-(addr[c[0]]+5)))
			}
			readers := []uint64{addr["runtime.ifaceeq"], addr["runtime.efaceeq"]}
			assert.Equal(t, tt.want, readsTypes(code, base, symbols, readers))
		})
	}
}

// A kernel that compares structures with a field of an interface type keeps what that reads.
func TestComparisonKeepsTheTypes(t *testing.T) {
	const comparing = `//go:build kapsel_kernel

package main

type pair struct {
	n     int
	value any
}

var one, two pair

//go:noinline
func same() bool { return one == two }

func init() {
	if same() {
		one.n++
	}
}
`
	dir := newModule(t, map[string]string{"guest/board/kvm/comparing.go": comparing})
	require.NoError(t, mkimage(dir, io.Discard))
	rodata := func(name string) (start uint64) {
		f, err := elf.Open(filepath.Join(dir, "out", name))
		require.NoError(t, err)
		defer f.Close()
		return loads(f)[1].Vaddr
	}
	assert.Equal(t, rodata("kernel.elf"), rodata("kapsel.elf"), "the constants begin with the types")
}
