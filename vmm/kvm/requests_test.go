package kvm

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestRequestsHaveTheirUse: each request is of a machine that runs, of snapshots, or of one that is made; but those that count for a benchmark.
func TestRequestsHaveTheirUse(t *testing.T) {
	used := slices.Concat(RunRequests(), SnapshotRequests(), MakeRequests())
	for r, name := range requestNames {
		assert.Equal(t, r != getStatsFD, slices.Contains(used, uintptr(r)), name)
	}
	for _, r := range used {
		assert.Contains(t, requestNames, request(r))
	}
}
