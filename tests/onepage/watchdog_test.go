package onepage

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
)

// Where the guests of this file have their things, in bytes from their start.
const (
	handlerAt   = 0x100
	gdtAt       = 0x200
	idtAt       = 0x240 // gates 0 to 2
	gdtrAt      = 0x280
	idtrAt      = 0x290
	stackAt     = 0x800 // its end
	heartbeatAt = 0x1000
)

// watchedGuest is a guest with descriptor tables whose NMI goes to handler.
func watchedGuest(code, handler []byte) []byte {
	le := binary.LittleEndian
	const low = entry & 0xffff_ffff // sign-extended where it is used
	page := make([]byte, stackAt)
	copy(page, join(
		le.AppendUint32([]byte{0x0f, 0x01, 0x14, 0x25}, low+gdtrAt),  // lgdt gdtr
		le.AppendUint32([]byte{0x0f, 0x01, 0x1c, 0x25}, low+idtrAt),  // lidt idtr
		le.AppendUint32([]byte{0x48, 0xc7, 0xc4}, low+stackAt), code, // mov $stack, %rsp
	))
	copy(page[handlerAt:], handler)
	le.PutUint64(page[gdtAt+8:], 0x00af9b000000ffff)  // 64-bit code (Intel SDM vol. 3, 3.4.5)
	le.PutUint64(page[gdtAt+16:], 0x00cf93000000ffff) // data
	const target = uint64(entry + handlerAt)
	le.PutUint64(page[idtAt+32:], target&0xffff|8<<16|0x8e00<<32|target>>16&0xffff<<48) // interrupt gate
	le.PutUint64(page[idtAt+40:], target>>32)
	le.PutUint16(page[gdtrAt:], 3*8-1)
	le.PutUint64(page[gdtrAt+2:], entry+gdtAt)
	le.PutUint16(page[idtrAt:], 3*16-1)
	le.PutUint64(page[idtrAt+2:], entry+idtAt)
	return image.FlatWatched(page, 2*abi.PageSize-stackAt, entry+heartbeatAt)
}

// incHeartbeat is incq heartbeat.
var incHeartbeat = binary.LittleEndian.AppendUint32([]byte{0x48, 0xff, 0x04, 0x25}, (entry+heartbeatAt)&0xffff_ffff)

func TestWatchdog(t *testing.T) {
	needKVM(t)
	const period = 200 * time.Millisecond
	lives := vmm.Exit{Reason: vmm.Cancelled}
	for _, tt := range []struct {
		name          string
		code, handler []byte
		watchdog      time.Duration
		want          vmm.Exit
		dump          string
	}{
		{"a kernel that hangs, and ends at the NMI", spin, exit(abi.ExitPanic), period, guestExit(abi.ExitPanic), ""},
		{"one that does not end", spin, spin, period, vmm.Exit{Reason: vmm.Hung}, "rip ffffffff80200100"},
		{"one that goes on as if nothing had been", spin, []byte{0x48, 0xcf}, period, vmm.Exit{Reason: vmm.Hung}, "rip ffffffff80200017"}, // iretq
		{"one that halts at the NMI", spin, haltLoop, period, vmm.Exit{Reason: vmm.Hung}, "rip ffffffff8020010"},
		{"one that has come back when the NMI is over", join(hello, spin), join(incHeartbeat, hello, haltLoop), period, lives, "rip ffffffff8020011"},
		{"no watchdog", spin, exit(1), 0, lives, "rip ffffffff80200017"},
		{"a heartbeat that goes on", join(incHeartbeat, []byte{0xeb, 0xf6}), exit(1), period, lives, "rip ffffffff8020001"}, // jmp back
		{"a machine that sleeps", haltLoop, exit(1), period, lives, "halted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := image.Parse(watchedGuest(tt.code, tt.handler))
			require.NoError(t, err)
			m, err := vmm.New(t.Context(), vmm.Config{Image: img, Memory: 4 << 20, Watchdog: tt.watchdog, Log: t.Logf})
			require.NoError(t, err)
			defer m.Close()
			wait := patience
			if tt.want == lives {
				wait = 8 * period
			}
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			defer cancel()
			exit, err := m.Run(ctx)
			require.NoError(t, err)
			assert.Equal(t, tt.want, exit)
			assert.Contains(t, dump(m), tt.dump)
		})
	}
}

// TestWatchdogNeedsAHeartbeat: an image without one is run without a watchdog, which is said.
func TestWatchdogNeedsAHeartbeat(t *testing.T) {
	r := run(t, exit(3), vmm.Config{Watchdog: time.Millisecond})
	assert.Equal(t, guestExit(3), r.Exit)
	assert.Equal(t, []string{"no watchdog: the image has no heartbeat"}, r.log)
}
