package sandbox

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStorm: calls, snapshots, resets, counters and Close by many goroutines at once end, each with what it wants or an error of its kind, and no goroutine is left.
func TestStorm(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 100 {
		h := newFakeHost(t)
		s, err := newSandbox(t.Context(), h.host(), Config{})
		require.NoError(t, err)
		first, err := s.Snapshot()
		require.NoError(t, err)
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*100*time.Microsecond)
				defer cancel()
				for range 5 {
					var err error
					switch i % 4 {
					case 0:
						_, err = s.Call(ctx, "echo", []byte("storm"))
					case 1:
						_, err = s.Snapshot()
					case 2:
						err = s.Reset(first)
					default:
						s.Stats()
						if i == 15 {
							err = s.Close()
						}
					}
					var e *Error
					if err != nil && assert.True(t, errors.As(err, &e), "%v", err) {
						assert.NotErrorIs(t, err, ErrReset)
					}
				}
			})
		}
		all.Wait()
		require.NoError(t, s.Close())
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+2 && time.Now().Before(end); {
		runtime.Gosched()
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before+2)
}
