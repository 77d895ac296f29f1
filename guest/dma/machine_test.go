package dma

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	function = regexp.MustCompile(`^kapsel/guest/dma\.(\S+) STEXT`)
	load     = regexp.MustCompile(`\t(MOV\w+)\t\(\w+\)\(BX\*1\), AX$`) // base and offset
	store    = regexp.MustCompile(`\t(MOV\w+)\tCX, \(\w+\)\(BX\*1\)$`)
	loadAt   = regexp.MustCompile(`\t(MOVW\w*)\t\(AX\), AX$`) // of a word whose place is known
	storeAt  = regexp.MustCompile(`\t(MOVW)\tBX, \(AX\)$`)
	call     = regexp.MustCompile(`\tCALL\tkapsel/guest/dma\.(fence)\(SB\)`)
)

// TestSharedAccessIsOneInstruction: each load and store of shared memory is one instruction, of its width, in a function of its own,
// which the compiler does not look into where it is called.
func TestSharedAccessIsOneInstruction(t *testing.T) {
	listing, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-S -m", ".").CombinedOutput()
	require.NoError(t, err, "%s", listing)
	accesses := map[string][]string{}
	name := ""
	for line := range strings.Lines(string(listing)) {
		line = strings.TrimRight(line, "\n")
		if f := function.FindStringSubmatch(line); f != nil {
			name = f[1]
		}
		for _, kind := range []*regexp.Regexp{load, store, loadAt, storeAt, call} {
			if a := kind.FindStringSubmatch(line); a != nil && name != a[1] { // assembly has a wrapper by its own name
				accesses[name] = append(accesses[name], a[1])
			}
		}
	}
	want := map[string][]string{
		"Word16.Load": {"MOVWLZX"}, "Word16.Store": {"MOVW"}, "(*Shared).Store16": {"MOVW"},
		"(*Shared).Load64": {"MOVQ"}, "(*Shared).Store64": {"MOVQ"},
		"(*Shared).Fence": {"fence"},
	}
	assert.Equal(t, want, accesses)
	for name := range want {
		if name != "(*Shared).Fence" {
			assert.False(t, strings.Contains(string(listing), "can inline "+name), "%s: its access would be merged with others, or moved", name)
		}
	}
}
