package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDifferences(t *testing.T) {
	first := []byte{9, 0x10, 0xff, 0, 0, 0xf8, 0xff, 0xff, 0xff, 7, 0xff, 0xff, 0xff, 0xff}
	second := []byte{9, 0x10, 0x0f, 1, 0, 0xf8, 0x0f, 0, 0, 7, 0xff, 0x0f, 0, 0}
	places, err := differences(first, second, 0x1000)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 5, 10}, places, "back to back, and with carries")
	same, err := differences(first, first, 0x1000)
	require.NoError(t, err)
	assert.Empty(t, same)

	for _, tt := range []struct {
		name          string
		first, second []byte
		want          string
	}{
		{"another size", []byte{1}, []byte{1, 2}, "another size"},
		{"the first byte", []byte{1, 0, 0, 0, 0}, []byte{2, 0, 0, 0, 0}, "at offset 0x0 it differs"},
		{"another step", []byte{1, 0x10, 0, 0}, []byte{1, 0x30, 0, 0}, "at offset 0x1 it differs"},
		{"a word that does not end", []byte{1, 2, 0x10, 0}, []byte{1, 2, 0x20, 0}, "at offset 0x2 it differs"},
		{"more than a word", []byte{0, 0xf0, 0xff, 0xff, 0, 0}, []byte{0, 0, 0, 0, 1, 0}, "at offset 0x4 it differs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := differences(tt.first, tt.second, 0x1000)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
