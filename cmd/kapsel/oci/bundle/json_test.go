package bundle

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestJSON: what readers of JSON may take for different things is refused; what is no JSON at all is for the decoder to say.
func TestJSON(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                   ``,
		"one name in two objects": `{"a": {"b": 1}, "c": {"b": 2}, "d": [{"b": 3}, {"b": 4}]}`,
		"a name that is a value":  `{"a": "a", "b": ["a", "a"], "c": "b"}`,
		"names behind an array":   `{"a": [[], {}, [{}]], "b": {}, "c": null}`,
		"no JSON":                 `{"a": 1, "a`,
		"deep":                    strings.Repeat(`[`, 1<<20),
	} {
		assert.NoError(t, checkJSON([]byte(text)), name)
	}
	for name, test := range map[string]struct{ text, want string }{
		"a name twice":              {`{"a": 1, "b": 2, "a": 3}`, `the name "a" stands twice in an object: want it once`},
		"a name twice, spelt apart": {`{"a": 1, "\u0061": 2}`, `the name "a" stands twice`},
		"behind an object":          {`{"a": {"b": [1, {"c": 2}]}, "a": 3}`, `the name "a" stands twice`},
		"deep inside":               {`[{"a": [{"b": 1, "b": 2}]}]`, `the name "b" stands twice`},
		"not UTF-8":                 {"{\"a\": \"\xff\"}", "want JSON in UTF-8"},
	} {
		assert.ErrorContains(t, checkJSON([]byte(test.text)), test.want, name)
	}
}
