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
	access   = regexp.MustCompile(`\t(MOV\w+\t\(AX\), \w+|MOV\w+\t\w+, \(AX\))$`)
	call     = regexp.MustCompile(`\tCALL\tkapsel/guest/dma\.((?:load|store|fence)\d*)\(SB\)`)
)

// TestSharedAccessIsOneInstruction: each load and store of shared memory is one instruction, of its width, behind a call, which
// the compiler cannot look into.
func TestSharedAccessIsOneInstruction(t *testing.T) {
	listing, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-S", ".").CombinedOutput()
	require.NoError(t, err, "%s", listing)
	accesses, calls := map[string][]string{}, map[string][]string{}
	name := ""
	for line := range strings.Lines(string(listing)) {
		line = strings.TrimRight(line, "\n")
		if f := function.FindStringSubmatch(line); f != nil {
			name = f[1]
		}
		if strings.HasPrefix(name, "load") || strings.HasPrefix(name, "store") {
			if a := access.FindStringSubmatch(line); a != nil {
				accesses[name] = append(accesses[name], a[1])
			}
		}
		if c := call.FindStringSubmatch(line); c != nil && name != c[1] { // assembly has a wrapper by its own name
			calls[name] = append(calls[name], c[1])
		}
	}
	assert.Equal(t, map[string][]string{
		"load16": {"MOVWLZX\t(AX), AX"}, "load32": {"MOVL\t(AX), AX"}, "load64": {"MOVQ\t(AX), AX"},
		"store16": {"MOVW\tBX, (AX)"}, "store32": {"MOVL\tBX, (AX)"}, "store64": {"MOVQ\tBX, (AX)"},
	}, accesses)
	assert.Equal(t, map[string][]string{
		"(*Shared).Load16": {"load16"}, "(*Shared).Load32": {"load32"}, "(*Shared).Load64": {"load64"},
		"(*Shared).Store16": {"store16"}, "(*Shared).Store32": {"store32"}, "(*Shared).Store64": {"store64"},
		"(*Shared).Fence": {"fence"},
	}, calls)
}
