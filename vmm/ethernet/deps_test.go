package ethernet

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestUserModeIsLinkedByThoseWhoUseIt: a monitor as a library has none of gVisor, nor has a network without user mode.
func TestUserModeIsLinkedByThoseWhoUseIt(t *testing.T) {
	const heavy = "gvisor.dev/gvisor/"
	for _, test := range []struct {
		packages []string
		links    bool
	}{
		{[]string{"kapsel/vmm", "kapsel/vmm/ethernet", "kapsel/vmm/ethernet/link", "kapsel/vmm/qemu"}, false},
		{[]string{"kapsel/vmm/ethernet/user"}, true}, // so that the check can fail
	} {
		out, err := exec.Command("go", append([]string{"list", "-deps"}, test.packages...)...).Output()
		require.NoError(t, err)
		assert.Equal(t, test.links, strings.Contains(string(out), heavy), "%v", test.packages)
	}
}
