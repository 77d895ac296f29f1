//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// COM1 gets as many bytes at once as its driver says, and one at the least.
func TestBurstSerial(t *testing.T) {
	newHostCPU(t)
	t.Cleanup(func() { serialBurst = 1 })
	for n, want := range map[int]int{-1: 1, 0: 1, 1: 1, 16: 16} {
		(&Machine{}).BurstSerial(n)
		serial.WriteString("text")
		assert.Equal(t, want, hostCPU.burst, "%d", n)
	}
	hostCPU.console = nil
	serial.WriteChars('a'|'b'<<8|'c'<<16, 2)
	assert.Equal(t, "ab", string(hostCPU.console))
}
