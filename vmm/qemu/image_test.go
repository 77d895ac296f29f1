package qemu

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/vmm/image"
)

// Fragments of 32-bit code for the PVH door, where EBX points to hvm_start_info.
var (
	// mov dx, 0x3f8; mov al, 'h'; out dx, al; mov al, 'i'; out dx, al; mov al, '\n'; out dx, al
	codeSayHi = []byte{0x66, 0xba, 0xf8, 0x03, 0xb0, 'h', 0xee, 0xb0, 'i', 0xee, 0xb0, '\n', 0xee}
	// mov eax, 5; out 0xf4, eax
	codeExit5 = []byte{0xb8, 5, 0, 0, 0, 0xe7, 0xf4}
	// xor eax, eax; out 0xf4, eax
	codeExit0 = []byte{0x31, 0xc0, 0xe7, 0xf4}
	// mov eax, 0x1234abcd; jmp $
	codeSpin = []byte{0xb8, 0xcd, 0xab, 0x34, 0x12, 0xeb, 0xfe}
	// push 0; push 0; lidt [esp]; ud2
	codeTripleFault = []byte{0xbc, 0x00, 0x00, 0x08, 0x00, 0x6a, 0, 0x6a, 0, 0x0f, 0x01, 0x1c, 0x24, 0x0f, 0x0b}
	// mov dx, 0x3fd; l: in al, dx; test al, 1; jz l; mov dx, 0x3f8; in al, dx;
	// inc al; out dx, al; xor eax, eax; out 0xf4, eax
	codeEchoNext = []byte{0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 1, 0x74, 0xfb, 0x66, 0xba, 0xf8, 0x03, 0xec,
		0xfe, 0xc0, 0xee, 0x31, 0xc0, 0xe7, 0xf4}
	// mov eax, [ebx+16] (modlist); mov esi, [eax] (address); mov ecx, [eax+8] (size);
	// mov dx, 0x3f8; rep outsb
	codePrintModules = []byte{0x8b, 0x43, 0x10, 0x8b, 0x30, 0x8b, 0x48, 0x08, 0x66, 0xba, 0xf8, 0x03, 0xf3, 0x6e}
)

// flat is an image that runs the fragments.
func flat(t *testing.T, fragments ...[]byte) *image.Image {
	t.Helper()
	return parse(t, image.Flat(bytes.Join(fragments, nil), 0))
}

func parse(t *testing.T, file []byte) *image.Image {
	t.Helper()
	img, err := image.Parse(file)
	require.NoError(t, err)
	return img
}
