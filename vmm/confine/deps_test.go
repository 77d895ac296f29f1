package confine

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWhoDoesNotConfineLinksNothing: a monitor as a library has neither go-seccomp-bpf nor go-landlock.
func TestWhoDoesNotConfineLinksNothing(t *testing.T) {
	for name, links := range map[string]bool{"kapsel/vmm": false, "kapsel/vmm/qemu": false, "kapsel/vmm/snapshot": false, "kapsel/vmm/confine": true} {
		out, err := exec.Command("go", "list", "-deps", name).Output()
		require.NoError(t, err)
		for _, heavy := range []string{"github.com/elastic/go-seccomp-bpf", "github.com/landlock-lsm/go-landlock/landlock"} {
			assert.Equal(t, links, strings.Contains(string(out), heavy+"\n"), "%s %s", name, heavy)
		}
	}
}
