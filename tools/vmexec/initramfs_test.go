package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBuildInitramfsWantsAKernel(t *testing.T) {
	_, err := buildInitramfs(&options{rig: t.TempDir()}, &job{})
	assert.ErrorContains(t, err, "scripts/rig fetches one")
}
