package task

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRandomOfTheProcessor(t *testing.T) {
	if !hasRDRAND() {
		t.Skip("this processor has no RDRAND")
	}
	for n := range 40 {
		a, b := make([]byte, n), make([]byte, n)
		assert.True(t, fromProcessor(a))
		assert.True(t, fromProcessor(b))
		if n >= 16 {
			assert.NotEqual(t, a, b)
			assert.NotEqual(t, make([]byte, 8), a[n-8:])
		}
	}
}
