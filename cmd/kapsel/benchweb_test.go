package main

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net"
	"kapsel/guest/net/http"
	"kapsel/vmm/ethernet"
)

// TestBenchCustomer: it asks again and again, a millisecond behind each answer at the least;
// Close ends who waits for a frame.
func TestBenchCustomer(t *testing.T) {
	c, err := newCustomer()
	require.NoError(t, err)
	var shop net.Stack
	began := time.Now()
	now := func() net.Time { return net.Time(time.Since(began).Microseconds()) }
	require.NoError(t, shop.Init(net.Config{
		Hardware: net.HardwareAddress{0x52, 0x54, 0, 0, 0, 2}, Conns: net.MakeConns(2, 2048, 2048), Random: func() uint32 { return 1 },
	}))
	require.NoError(t, shop.SetAddress(net.Address{10, 0, 0, 2}, 24, net.Address{}, now()))
	listener, err := shop.Listen(80)
	require.NoError(t, err)
	server := http.NewServer(1, 64)
	var last time.Time
	handler := func(r *http.Request, a *http.Answer) {
		assert.GreaterOrEqual(t, time.Since(last), answerTime)
		last = time.Now()
		a.Text.WriteString("a page")
	}

	buffer := make([]byte, ethernet.MaxFrame)
	for answered := uint64(0); answered < 20; {
		n, err := c.ReadFrame(buffer)
		require.NoError(t, err)
		shop.Input(buffer[:n], now())
		if conn := listener.Accept(); conn != nil {
			server.Begin(conn, now())
		}
		server.Serve(handler, now())
		for n := shop.Output(buffer, now()); n > 0; n = shop.Output(buffer, now()) {
			require.NoError(t, c.WriteFrame(buffer[:n]))
		}
		_, answered, _ = server.Counts()
	}
	ended := make(chan error)
	go func() {
		for {
			if _, err := c.ReadFrame(buffer); err != nil {
				ended <- err
				return
			}
		}
	}()
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	assert.ErrorIs(t, <-ended, io.EOF)
}
