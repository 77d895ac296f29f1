// Package tock boots programs as Tock's developers have them: 32-bit ones on the start code of guest/tock32, built as docs/tock.md says,
// and the drivers of date and time and of app flash as tasks of 64 and of 32 bits call them.
package tock

import (
	"bytes"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/qemu"
)

// boot boots a task, and checks that all ends well.
func boot(t *testing.T, task []byte) (console string) {
	t.Helper()
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{task}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	return o.Console
}

// said are the lines that a task printed behind its name.
func said(console, name string) (lines []string) {
	for _, line := range strings.Split(console, "\n") {
		if after, ok := strings.CutPrefix(line, name+": "); ok {
			lines = append(lines, after)
		}
	}
	return lines
}

// TestDateTimeAndAppFlash: a task of 64 bits reads the host's time, sets another and reads that; what it writes to its flash is there in
// its next life.
func TestDateTimeAndAppFlash(t *testing.T) {
	before := time.Now().UTC().Truncate(time.Second)
	lines := said(boot(t, machine.Object(t, "test/almanac.tbf")), "almanac")
	require.Len(t, lines, 17)
	words := strings.SplitN(lines[0], " day ", 2)
	got, err := time.Parse("time 2006-01-02 15:04:05", words[0])
	require.NoError(t, err)
	assert.WithinRange(t, got, before.Add(-time.Second), time.Now().Add(time.Second))
	assert.Equal(t, string('0'+rune(got.Weekday())), words[1])
	assert.Equal(t, "set", lines[1])
	assert.Regexp(t, "^time 2000-0(2-29 23:59:[0-5][0-9] day 2|3-01 00:0[0-9]:[0-5][0-9] day 3)$", lines[2])
	life := []string{"write", "write all", "write beyond: INVAL"}
	want := []string{"no date: INVAL", "no month: INVAL"}
	for _, n := range []string{"1", "2", "3"} {
		want = append(append(want, life...), "life "+n)
	}
	assert.Equal(t, want, lines[3:])
}

//go:embed testdata/almanac32.bin
var almanac32 []byte

// TestDateTimeAndAppFlash32, of a 32-bit task (testdata/almanac32), whose region is no whole page, as elf2tab makes them.
func TestDateTimeAndAppFlash32(t *testing.T) {
	const header = 0x80
	region := bytes.Index(almanac32, []byte("nothing yet"))
	require.Positive(t, region)
	object, err := tbfbuild.Build(tbfbuild.Spec{ // as guest/tock32/tock32.ld has it
		Name: "almanac32", Binary: almanac32, BinaryOffset: header, MinimumRAM: 0x8000,
		Writeable:      []tbf.Region{{Offset: uint32(region), Size: 0x40}},
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x0015_0000 + header, RAM: 0x0021_0000},
	})
	require.NoError(t, err)
	assert.Regexp(t, `almanac32 +Terminated +1 .* exit with code 0\n`, boot(t, object),
		"another code is the line of testdata/almanac32/main.c whose check failed")
}

// TestDocument: the program of docs/tock.md that needs no library, built by its words, runs.
func TestDocument(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no C compiler for x86: install gcc")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "docs", "tock.md"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hello.c"), block(t, text, "c"), 0o600))
	build := exec.Command("sh", "-eu", "-c", string(block(t, text, "sh")))
	build.Dir, build.Env = dir, append(os.Environ(), "KAPSEL="+root)
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)

	file, err := image.Open(t.Context(), filepath.Join(dir, "hello-image.elf"))
	require.NoError(t, err)
	var console bytes.Buffer
	m, err := qemu.New(t.Context(), vmm.Config{Image: file, Console: &console, Log: t.Logf})
	require.NoError(t, err)
	defer m.Close()
	exit, err := m.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, exit, console.String())
	assert.Contains(t, console.String(), "hello from C\n")
}

// block is the first block of a language in a document.
func block(t *testing.T, text []byte, language string) []byte {
	t.Helper()
	found := regexp.MustCompile("(?s)\n```" + language + "\n(.*?)```\n").FindSubmatch(text)
	require.NotNil(t, found, "no block of %s", language)
	return found[1]
}
