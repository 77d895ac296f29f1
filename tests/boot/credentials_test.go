package boot

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// exits is a task that ends at once, at whatever address.
var exits = []byte{
	0x31, 0xff, //                         xor %edi, %edi: terminate
	0x31, 0xf6, //                         xor %esi, %esi
	0xb8, 0x06, 0x00, 0x00, 0x00, //       mov $6, %eax: Exit
	0x0f, 0x05, //                         syscall
	0xcc, 0xcc, 0xcc, //                   not reached
}

// signed is a task object with a SHA-256 credential.
func signed(t *testing.T, name string, shortID, version uint32) []byte {
	t.Helper()
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: name, Binary: exits, MinimumRAM: abi.PageSize, ABI64: true, ShortID: shortID, Version: version, SHA256: true,
	})
	require.NoError(t, err)
	return object
}

// longer is a task object with a SHA-256 credential that more bytes follow in its footer.
func longer(t *testing.T, name string) []byte {
	t.Helper()
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: name, Binary: exits, MinimumRAM: abi.PageSize, ABI64: true,
		Credentials: []tbfbuild.Credential{{Format: tbf.SHA256, Data: make([]byte, sha256.Size+12)}},
	})
	require.NoError(t, err)
	o, wrong := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(wrong))
	const head = 8 // type, length and format
	digest := sha256.Sum256(o.Signed())
	copy(object[len(o.Signed())+head:], digest[:])
	return object
}

// ecdsaSigned is a task object whose only credential is a signature by ECDSA-P256, as elf2tab --ecdsa-nist-p256-private makes one: r and s of
// the SHA-256 digest of what it covers.
func ecdsaSigned(t *testing.T, name string) []byte {
	t.Helper()
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: name, Binary: exits, MinimumRAM: abi.PageSize, ABI64: true,
		Credentials: []tbfbuild.Credential{{Format: tbf.ECDSAP256, Data: make([]byte, 64)}},
	})
	require.NoError(t, err)
	o, wrong := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(wrong))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	digest := sha256.Sum256(o.Signed())
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	require.NoError(t, err)
	const head = 8 // type, length and format
	signature := object[len(o.Signed())+head:]
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:64])
	return object
}

// tampered is the object with the last byte of its binary changed.
func tampered(t *testing.T, object []byte) []byte {
	t.Helper()
	o, err := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(err))
	object = bytes.Clone(object)
	object[len(o.Signed())-1] ^= 0x80
	return object
}

// skips are the lines about objects that are skipped, and loads the names of those that
// are not.
func skips(console string) (lines, loads []string) {
	lines = regexp.MustCompile(`(?m)^task object at offset .*$`).FindAllString(console, -1)
	for _, match := range regexp.MustCompile(`(?m)^task \d+ (.*): flash .*$`).FindAllStringSubmatch(console, -1) {
		loads = append(loads, match[1])
	}
	return lines, loads
}

const (
	skippedAt   = "task object at offset 0x"
	notRequired = " skipped: it has no credential that the kernel can check, and the board requires one"
	notChecked  = " skipped: its ECDSA-P256 signature cannot be checked by this kernel; the board requires a SHA-256 digest (elf2tab --sha256)"
	wrongDigest = " skipped: a credential does not fit its header and binary: they or it were changed"
)

// A choice is what of some modules is skipped, in whole lines, and what is loaded, by a command
// line.
type choice struct {
	cmdline string
	skips   []string
	loads   []string
}

func (c choice) check(t *testing.T, modules [][]byte) {
	t.Helper()
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules, Cmdline: c.cmdline})
	ended(t, out, abi.ExitOK)
	lines, loads := skips(out.Console)
	assert.Equal(t, c.skips, lines)
	assert.Equal(t, c.loads, loads)
}

func TestCredentials(t *testing.T) {
	modules := [][]byte{
		signed(t, "signed", 0, 0), tampered(t, signed(t, "tampered", 0, 0)), machine.Code(t, "unsigned", exits), longer(t, "longer"), signed(t, "last", 0, 0),
		ecdsaSigned(t, "ecdsa"),
	}
	for _, c := range []choice{
		{"credentials=required", []string{skippedAt + "1000" + wrongDigest, skippedAt + "2000" + notRequired, skippedAt + "5000" + notChecked},
			[]string{"signed", "longer", "last"}},
		{"credentials=checked", []string{skippedAt + "1000" + wrongDigest}, []string{"signed", "unsigned", "longer", "last", "ecdsa"}},
		{"", []string{skippedAt + "1000" + wrongDigest}, []string{"signed", "unsigned", "longer", "last", "ecdsa"}},
		{"credentials=required credentials=none", nil, []string{"signed", "tampered", "unsigned", "longer", "last", "ecdsa"}},
	} {
		t.Run(c.cmdline, func(t *testing.T) { c.check(t, modules) })
	}
}

// TestImageWithoutCredentials: objects in the image are no exception.
func TestImageWithoutCredentials(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image: "kapsel.elf", Modules: [][]byte{signed(t, "signed", 0, 0)}, Cmdline: "credentials=required",
	})
	ended(t, out, abi.ExitOK)
	lines, loads := skips(out.Console)
	assert.Len(t, lines, 3, "hello, counter and intruder")
	assert.Equal(t, []string{"signed"}, loads)
}

func TestIdentities(t *testing.T) {
	modules := [][]byte{signed(t, "blink", 7, 1), signed(t, "clock", 0, 4), signed(t, "blink2", 7, 2), signed(t, "clock", 0, 5)}
	const same = " skipped: it is the same application as "
	for _, c := range []choice{
		{"", []string{skippedAt + "0" + same + "blink2, which has version 2; this has version 1"}, []string{"clock", "blink2", "clock"}},
		{"identity=name", []string{skippedAt + "1000" + same + "clock, which has version 5; this has version 4"}, []string{"blink", "blink2", "clock"}},
		{"identity=none", nil, []string{"blink", "clock", "blink2", "clock"}},
	} {
		t.Run(c.cmdline, func(t *testing.T) { c.check(t, modules) })
	}
}

// TestShortIDOnTheProcessConsole: list shows it by the board's policy.
func TestShortIDOnTheProcessConsole(t *testing.T) {
	typist := machine.NewTypist(
		machine.Step{On: "kapsel$ ", Keys: "list\r"}, machine.Step{On: "kapsel$ ", Keys: "reset\r"},
	)
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: [][]byte{signed(t, "a", 0, 0), signed(t, "", 0, 0)},
		Cmdline: "console identity=name", Input: typist.Keys, Console: typist,
	})
	assert.Equal(t, vmm.GuestExit, out.Exit.Reason)
	assert.Regexp(t, ` 1    0xe40c292c a  .*\n +2    Unique     \(no name\)  `, out.Console)
}
