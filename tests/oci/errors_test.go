package oci

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An entry is a line of --log in the format json, which engines read to learn why a call failed.
type entry struct {
	Level   string    `json:"level"`
	Message string    `json:"msg"`
	Time    time.Time `json:"time"`
}

// entries are the lines of a log.
func entries(t *testing.T, log string) (all []entry) {
	t.Helper()
	for line := range strings.Lines(log) {
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		var e entry
		require.NoError(t, decoder.Decode(&e), "log: %s", line)
		assert.NotEmpty(t, e.Message, "log: %s", line)
		assert.WithinDuration(t, time.Now(), e.Time, time.Hour, "log: %s", line)
		all = append(all, e)
	}
	return all
}

// levels are those of the lines of a log.
func levels(t *testing.T, log string) (all []string) {
	t.Helper()
	for _, e := range entries(t, log) {
		all = append(all, e.Level)
	}
	return all
}
