package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWords(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "a b\nc")
	_, err := os.Open(missing)
	quoted := fmt.Sprintf("open %q: no such file or directory", missing)
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"package os", err, quoted},
		{"within other words", fmt.Errorf("--golden: %w: make it", err), "--golden: " + quoted + ": make it"},
		{"joined", errors.Join(errors.New("one"), err), "one\n" + quoted},
		{"another error", errors.New("no results"), "no results"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, Words(tt.err))
		})
	}
}
