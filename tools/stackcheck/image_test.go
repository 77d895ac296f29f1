package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tools/pclntab"
)

func TestMovesSP(t *testing.T) {
	for _, tt := range []struct {
		name  string
		code  []byte
		moved int
		known bool
	}{
		{"push rbp", []byte{0x55}, 8, true},
		{"pop rbp", []byte{0x5d}, -8, true},
		{"pop rsp", []byte{0x5c}, -8, false},
		{"sub rsp, 40", []byte{0x48, 0x83, 0xec, 0x28}, 40, true},
		{"add rsp, 1024", []byte{0x48, 0x81, 0xc4, 0, 4, 0, 0}, -1024, true},
		{"add rsp, -128", []byte{0x48, 0x83, 0xc4, 0x80}, 128, true},
		{"lea rsp, [rsp-8]", []byte{0x48, 0x8d, 0x64, 0x24, 0xf8}, 8, true},
		{"mov rsp, rax", []byte{0x48, 0x89, 0xc4}, 0, false},
		{"and rsp, -16", []byte{0x48, 0x83, 0xe4, 0xf0}, 0, false},
		{"cmp rsp, [r14+16]", []byte{0x49, 0x3b, 0x66, 0x10}, 0, true},
		{"mov rax, rsp", []byte{0x48, 0x89, 0xe0}, 0, true},
		{"call", []byte{0xe8, 0, 0, 0, 0}, 0, true},
		{"ret", []byte{0xc3}, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := decode(tt.code)
			require.NoError(t, err)
			require.Equal(t, len(tt.code), in.Len)
			moved, known := movesSP(in)
			assert.Equal(t, tt.known, known)
			if known {
				assert.Equal(t, tt.moved, moved)
			}
		})
	}
}

// code returns an image of two functions: f with the code, at 0x1000, and g behind it. SP in f
// is as sp says.
func code(f []byte, sp pclntab.Table) *image {
	end := 0x1000 + uint64(len(f))
	return &image{text: 0x1000, code: append(f, 0xc3), functions: []*function{
		{Name: "f", Addr: 0x1000, End: end, SP: sp},
		{Name: "g", Addr: end, End: end + 1},
	}}
}

func TestScan(t *testing.T) {
	flat := pclntab.Table{{End: 0x2000}}
	for _, tt := range []struct {
		name string
		code []byte
		sp   pclntab.Table
		want []call // of g
	}{
		{"a call", []byte{0xe8, 0, 0, 0, 0}, flat, []call{{at: 0x1000, pushes: 8}}},
		{"a call below a frame", []byte{0x55, 0xe8, 1, 0, 0, 0, 0x5d}, pclntab.Table{{End: 0x1001}, {End: 0x1007, Value: 8}, {End: 0x2000}},
			[]call{{at: 0x1001, depth: 8, pushes: 8}}},
		{"a jump to another function", []byte{0xeb, 0}, flat, []call{{at: 0x1000}}},
		{"a condition that leaves", []byte{0x74, 0}, flat, []call{{at: 0x1000}}},
		{"a loop", []byte{0xeb, 0xfe}, flat, nil},
		{"the table of a switch", []byte{0xff, 0x24, 0xc1}, flat, nil}, // jmp [rcx+rax*8]
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := code(tt.code, tt.sp)
			calls, err := img.scan(img.functions[0])
			require.NoError(t, err)
			for i := range tt.want {
				tt.want[i].target = img.functions[1]
			}
			assert.Equal(t, tt.want, calls)
		})
	}
}

func TestScanFindsItself(t *testing.T) {
	img := code([]byte{0xe8, 0xfb, 0xff, 0xff, 0xff}, pclntab.Table{{End: 0x2000}})
	calls, err := img.scan(img.functions[0])
	require.NoError(t, err)
	require.Len(t, calls, 1)
	assert.Equal(t, "f", calls[0].target.Name)
}

func TestScanFindsIndirectCalls(t *testing.T) {
	for name, in := range map[string][]byte{"call rax": {0xff, 0xd0}, "call [rax+24]": {0xff, 0x50, 0x18}, "jmp rcx": {0xff, 0xe1}} {
		t.Run(name, func(t *testing.T) {
			img := code(in, pclntab.Table{{End: 0x2000}})
			calls, err := img.scan(img.functions[0])
			require.NoError(t, err)
			require.Len(t, calls, 1)
			assert.Nil(t, calls[0].target)
		})
	}
}

func TestScanRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		code []byte
		want string
	}{
		"SP set anew":                    {[]byte{0x48, 0x89, 0xc4}, "moves SP in a way that is not followed"},
		"another frame than the table's": {[]byte{0x48, 0x83, 0xec, 0x28}, "f+0x0: SUB RSP, 0x28 moves SP"},
		"a call over an instruction":     {[]byte{0xe8, 1, 0, 0, 0, 0xcc, 0x90}, "f+0x0: a call into the middle of its own function is a push"},
		"unknown instruction":            {[]byte{0x06}, "an instruction that is not known: 06"},
	} {
		t.Run(name, func(t *testing.T) {
			img := code(tt.code, pclntab.Table{{End: 0x2000}})
			_, err := img.scan(img.functions[0])
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
