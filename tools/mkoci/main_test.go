package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What no container could have is refused in the runtime's words, and no archive is written.
func TestWordsRefused(t *testing.T) {
	dir := t.TempDir()
	task := filepath.Join(dir, "a.tbf")
	require.NoError(t, os.WriteFile(task, []byte("a task"), 0o644))
	for _, tt := range []struct{ name, word, value, want string }{
		{"no size", "memory", "x", `org.kapsel.memory "x": want a size as 64M`},
		{"no memory", "memory", "0", "org.kapsel.memory of 0 bytes: want a multiple of 4096 above 0"},
		{"half a page", "memory", "1000", "want a multiple of 4096"},
		{"a port out of range", "net", "user,forward=tcp:8080:70000", "70000"},
		{"no network", "net", "fast", "want user, tap=NAME, unix=PATH or link=NAME first"},
		{"a file of the host's", "net", "user,pcap=/etc/passwd", "would write to a file of the host"},
		{"perhaps", "rng", "perhaps", "want true or false"},
		{"a long command line", "cmdline", string(make([]byte, 5000)), "the kernel's command line: want at most"},
		{"no word", "speed", "1", `no word "speed": want kernel, tasks,`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			archive := filepath.Join(dir, "image.tar")
			assert.ErrorContains(t, run(archive, "localhost/a:1", "", []string{task}, map[string]string{tt.word: tt.value}), tt.want)
			assert.NoFileExists(t, archive)
		})
	}
	good := map[string]string{"memory": "32M", "net": "user,forward=tcp:0.0.0.0:8080:80", "rng": "true", "cmdline": "a=b"}
	assert.NoError(t, run(filepath.Join(dir, "image.tar"), "localhost/a:1", "", []string{task}, good))
	assert.NoError(t, run(filepath.Join(dir, "none.tar"), "localhost/a:1", "", []string{task}, map[string]string{"net": "none"}))
	empty := map[string]string{"memory": "", "net": "", "rng": "", "cmdline": ""} // as if they were not there
	assert.NoError(t, run(filepath.Join(dir, "empty.tar"), "localhost/a:1", "", []string{task}, empty))
}
