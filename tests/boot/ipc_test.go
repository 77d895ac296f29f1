package boot

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
)

// TestIPC: a client has a text turned by a service, in memory that it lends, and takes the
// memory back: the service's next access faults.
func TestIPC(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Cmdline: "fault=stop no-dump",
		Modules: [][]byte{machine.Object(t, "test/rot13.tbf"), machine.Object(t, "test/client.tbf")},
	})
	ended(t, out, abi.ExitTaskFault)
	inOrder(t, out.Console, "client: a part of a page: INVAL\n", "client: Hello World!\n", "client: Uryyb Jbeyq!\n",
		"rot13: looking at what is not lent any more\n",
		"rot13 faulted: page fault: read where no page is at 0x7f820000,")
	assert.Regexp(t, `client +Terminated .* exit with code 0\n`, out.Console)
	assert.NotContains(t, out.Console, "still there")
}
