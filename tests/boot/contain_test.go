package boot

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
)

// faulty is an image with a driver that fails when it is told to, without tasks.
const faulty = "test/faulty.elf"

// TestContain: a driver that fails, at each place in each way, ends its operation alone. It is made anew; what it shares lives on; other tasks
// go on, and one that waits for it is told.
func TestContain(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image: faulty, Cmdline: "capsules=often",
		Modules: [][]byte{machine.Object(t, "test/awaits.tbf"), machine.Object(t, "test/fails.tbf"), machine.Object(t, "counter.tbf")},
	})
	ended(t, out, abi.ExitOK)
	inOrder(t, out.Console, "fails: 48 contained, 0 not\n")
	inOrder(t, out.Console, "awaits: Yield-WaitFor was told 1\n", "awaits: a function was told 1\n", "awaits: ends\n")
	inOrder(t, out.Console, "counter: 1\n", "counter: 10\n")
	inOrder(t, out.Console, "kapsel: capsule faulty failed: index out of range [7] with length 7\n",
		"  kapsel/guest/capsules/faulty/failures.Fail\n", "  kapsel/guest/capsules/faulty.(*Faulty).Command\n",
		"  it is made anew, 1 of ")
	inOrder(t, out.Console, "kapsel: capsule faulty failed: misuse: a deferred call was set before it was registered\n")
	inOrder(t, out.Console, "kapsel: capsule faulty failed: stack overflow\n",
		"  kapsel/guest/capsules/faulty.useUp\n", "  kapsel/guest/capsules/faulty.(*Faulty).Command\n")
	inOrder(t, out.Console, "kapsel: capsule faultymux failed: ", "  with it fall faulty\n")
}

// TestContainLoops: a driver that does not return is ended by the watchdog, and made anew.
func TestContainLoops(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image: faulty, Cmdline: "capsules=often", Watchdog: watchdog,
		Modules: [][]byte{machine.Object(t, "test/spins.tbf"), machine.Object(t, "counter.tbf")},
	})
	ended(t, out, abi.ExitOK)
	inOrder(t, out.Console, "kapsel: capsule faulty failed: watchdog: ")
	inOrder(t, out.Console, "spins: place 3: 0 11\n", "spins: place 4: 0 11\n", "spins: place 5: 128 0\n",
		"spins: place 6: 0 11\n", "spins: place 8: 128 0\n", "spins: ends\n")
	inOrder(t, out.Console, "counter: 10\n")
}

// TestContainPolicies: a capsule is made anew three times, not at all, or its failure ends the machine, as the command line has it.
func TestContainPolicies(t *testing.T) {
	for _, test := range []struct {
		cmdline string
		status  uint32
		wanted  []string
	}{
		{"", abi.ExitCapsule, []string{"it is made anew, 1 of 3 times", "it is made anew, 3 of 3 times", "it stays off", "fails: it stays off after 3\n"}},
		{"capsules=stop", abi.ExitCapsule, []string{"capsule faulty failed: ", "  it stays off\n", "fails: it stays off after 0\n"}},
		{"capsules=panic", abi.ExitPanic, []string{"kapsel: kernel panic: index out of range [7] with length 7\n", "failures.Fail\n"}},
	} {
		t.Run(test.cmdline, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: faulty, Cmdline: test.cmdline, Modules: [][]byte{machine.Object(t, "test/fails.tbf")}})
			assert.EqualValues(t, test.status, out.Exit.Status, out.Console)
			inOrder(t, out.Console, test.wanted...)
		})
	}
}
