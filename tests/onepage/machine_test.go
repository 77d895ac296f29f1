package onepage

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/vmm"
	"kapsel/vmm/image"
)

// needKVM skips the test where no machine can be made, and says why.
func needKVM(t *testing.T) {
	t.Helper()
	if _, err := vmm.Capabilities(); err != nil {
		t.Skip(err)
	}
}

// patience is the longest that a guest of a few instructions may take, wherever it runs.
const patience = 60 * time.Second

// result is how a guest ended and what it did before.
type result struct {
	vmm.Exit
	console string
	writes  int // calls of the console's Write
	stats   vmm.Stats
	log     []string
}

// recorder is a machine's console and log.
type recorder struct {
	mu      sync.Mutex
	console bytes.Buffer
	writes  int
	log     []string
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	return r.console.Write(p)
}

// logf keeps what is said of the guest. What a KVM lacks is the host's, and each machine says it.
func (r *recorder) logf(format string, args ...any) {
	if strings.HasPrefix(format, "KVM does not take IA32_ARCH_CAPABILITIES ") {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

// newMachine makes a machine with the code as its guest, to be closed with the test.
func newMachine(t *testing.T, code []byte, c vmm.Config) *vmm.Machine {
	t.Helper()
	needKVM(t)
	img, err := image.Parse(image.Flat(code, 0))
	require.NoError(t, err)
	c.Image = img
	if c.Memory == 0 {
		c.Memory = 4 << 20
	}
	m, err := vmm.New(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// run runs a guest to its end and fails with its state if that does not come by itself.
func run(t *testing.T, code []byte, c vmm.Config) result {
	t.Helper()
	var r recorder
	c.Console, c.Log = &r, r.logf
	m := newMachine(t, code, c)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	exit, err := m.Run(ctx)
	if err != nil || exit.Reason == vmm.Cancelled {
		var dump bytes.Buffer
		m.Dump(&dump)
		require.FailNow(t, "the guest did not end", "%v, error: %v\nconsole: %q\nlog: %q\n%s", exit, err, r.console.String(), r.log, &dump)
	}
	return result{exit, r.console.String(), r.writes, m.Stats(), r.log}
}

// start runs a machine until stop is called, which returns its end.
func start(t *testing.T, m *vmm.Machine) (stop func() vmm.Exit) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var exit vmm.Exit
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { exit, err = m.Run(ctx) })
	return func() vmm.Exit {
		cancel()
		wg.Wait()
		require.NoError(t, err)
		return exit
	}
}

func guestExit(status int) vmm.Exit { return vmm.Exit{Reason: vmm.GuestExit, Status: status} }
