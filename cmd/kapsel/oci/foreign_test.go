package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What tests wait for comes by itself; if it does not, they fail after patience.
const (
	patience = time.Minute
	tick     = 5 * time.Millisecond
)

// fakeRunc puts a program into the place of runc, which writes down its arguments and ends with a status. It returns how to read them.
func fakeRunc(t *testing.T, status string) (said func() string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$@\" >>" + dir + "/said\nexit " + status + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, foreignRuntime), []byte(script), 0o755))
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return func() string {
		text, _ := os.ReadFile(dir + "/said")
		os.Remove(dir + "/said")
		return string(text)
	}
}

// foreignBundle is a bundle of a program of the host's.
func foreignBundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rootfs", "pause"), []byte("#!/bin/sh\n"), 0o755))
	config := `{"ociVersion":"1.0.2","process":{"cwd":"/","args":["/pause"]},"root":{"path":"rootfs"}}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644))
	return dir
}

// A container without a Kapsel image goes to runc with the same words, is marked, and is deleted by runc.
func TestForeign(t *testing.T) {
	said, folder, bundle := fakeRunc(t, "0"), t.TempDir(), foreignBundle(t)
	r := invoke(t, folder, "create", "--bundle", bundle, "--pid-file", "/p", "a")
	require.NoError(t, r.err)
	assert.Equal(t, statusDone, r.status)
	words := strings.Fields(said())
	assert.Equal(t, "--root "+filepath.Join(folder, "root"), strings.Join(words[:2], " "))
	assert.Equal(t, "create --bundle "+bundle+" --pid-file /p a", strings.Join(words[6:], " "))
	mark := filepath.Join(folder, "root", ourRoot, "a", foreignMark)
	assert.FileExists(t, mark)
	assert.Empty(t, invoke(t, folder, "list", "--quiet").out, "runc list lists it")

	r = invoke(t, folder, "delete", "--force", "a")
	require.NoError(t, r.err)
	assert.Contains(t, said(), "delete --force a\n")
	assert.NoFileExists(t, mark)
	invoke(t, folder, "delete", "--force", "a")
	assert.Empty(t, said(), "it is runc's no longer")
}

// What runc did not create is not its. One that is there stays so, though runc refuses another of its ID.
func TestForeignThatFails(t *testing.T) {
	folder, bundle := t.TempDir(), foreignBundle(t)
	mark := filepath.Join(folder, "root", ourRoot, "a", foreignMark)
	fakeRunc(t, "3")
	r := invoke(t, folder, "create", "--bundle", bundle, "a")
	assert.NoError(t, r.err, "runc has said it")
	assert.Equal(t, 3, r.status)
	assert.NoFileExists(t, mark)

	fakeRunc(t, "0")
	invoke(t, folder, "create", "--bundle", bundle, "a")
	fakeRunc(t, "3")
	assert.Equal(t, 3, invoke(t, folder, "create", "--bundle", bundle, "a").status)
	assert.FileExists(t, mark)
	assert.Equal(t, 3, invoke(t, folder, "delete", "a").status)
	assert.FileExists(t, mark)
}

func TestWithoutRunc(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	folder := t.TempDir()
	r := invoke(t, folder, "create", "--bundle", foreignBundle(t), "a")
	assert.ErrorContains(t, r.err, "install runc, or name a Kapsel image by the annotation org.kapsel.kernel")
	assert.NoDirExists(t, filepath.Join(folder, "root", ourRoot, "a"))
}
