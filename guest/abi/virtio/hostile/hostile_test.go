package hostile

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A fuzzer that starts from the scripts starts from what they say.
func TestScriptsSurviveAsBytes(t *testing.T) {
	names := map[string]bool{}
	for _, s := range Scripts {
		assert.Equal(t, s.Steps, slices.Collect(Decode(Encode(s.Steps))), s.Name)
		assert.False(t, names[s.Name], "two scripts are named %q", s.Name)
		names[s.Name] = true
	}
}

// Any bytes are a script that can be run.
func FuzzDecode(f *testing.F) {
	for _, s := range Scripts {
		f.Add(Encode(s.Steps))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for s := range Decode(data) {
			if s.Act >= acts || s.Area >= areas || s.Queue >= MaxQueues {
				t.Fatalf("a step out of range: %+v", s)
			}
			if s.Act == Write && s.Width != 1 && s.Width != 2 && s.Width != 4 && s.Width != 8 {
				t.Fatalf("width %d", s.Width)
			}
		}
	})
}
