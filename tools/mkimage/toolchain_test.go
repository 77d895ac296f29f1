package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostile are values of Go's variables that change what is built, or keep it from being built.
var hostile = []string{
	"CGO_ENABLED=1", "CGO_CFLAGS=-O9", "CC=/nowhere/cc", "PKG_CONFIG=/nowhere/pkg-config",
	"GO111MODULE=off", "GOAMD64=v4", "GOARCH=arm64", "GODEBUG=gocachetest=1", "GOEXPERIMENT=nosuch", "GOFIPS140=latest",
	"GOFLAGS=-mod=vendor -tags=kapsel_debug", "GOOS=darwin", "GOROOT=/nowhere", "GOWORK=/nowhere/go.work", "GOCOVERDIR=/nowhere",
	"GO_EXTLINK_ENABLED=1", "GOTOOLDIR=/nowhere",
}

// documentedVariables are the variables that Go documents.
func documentedVariables(t *testing.T) []string {
	t.Helper()
	said, err := output(exec.Command("go", "help", "environment"))
	require.NoError(t, err)
	said, _, _ = strings.Cut(said, "Additional information available from 'go env'")
	var names []string
	for _, line := range regexp.MustCompile(`(?m)^\t([A-Z0-9_]+(?:, [A-Z0-9_]+)*)$`).FindAllStringSubmatch(said, -1) {
		names = append(names, strings.Split(line[1], ", ")...)
	}
	require.Greater(t, len(names), 50)
	return names
}

// Of the variables that Go documents the toolchain gets those alone that say where modules come
// from and files are kept, as the caller has them, and mkimage's own.
func TestEnvironmentOfTheToolchain(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	mine := map[string]string{}
	for _, variable := range ours {
		name, value, _ := strings.Cut(variable, "=")
		mine[name] = value
	}
	others := []string{"GIT_ALLOW_PROTOCOL"} // not Go's
	for _, name := range documentedVariables(t) {
		t.Run(name, func(t *testing.T) {
			if name == "GOTOOLCHAIN" {
				t.Setenv(name, "local")
			} else if name != "GOENV" {
				t.Setenv(name, "/the/caller's")
			}
			env, version, err := environment()
			require.NoError(t, err)
			var got []string
			for _, variable := range env {
				if value, found := strings.CutPrefix(variable, name+"="); found {
					got = append(got, value)
				}
			}
			switch {
			case name == "GOTOOLCHAIN":
				assert.Empty(t, got, "it is the pinned one")
				assert.Equal(t, "local", version)
			case slices.Contains(callersOwn, name), slices.Contains(others, name):
				assert.Equal(t, []string{"/the/caller's"}, got)
			case mine[name] != "":
				assert.Equal(t, []string{mine[name]}, got)
			default:
				assert.Empty(t, got)
			}
		})
	}
	for _, name := range []string{"HOME", "PATH", "https_proxy", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "TMPDIR"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, os.Getenv(name)+"/dev/null")
			env, _, err := environment()
			require.NoError(t, err)
			assert.Contains(t, env, name+"="+os.Getenv(name), "what people need stays")
		})
	}
}

// goEnvFile writes a file as go env -w does.
func goEnvFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "env")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return path
}

// Settings of go env -w count as variables do.
func TestEnvironmentReadsTheGoEnvFile(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	for _, name := range append([]string{"GOFLAGS"}, callersOwn...) {
		t.Setenv(name, os.Getenv(name)) // to be restored
		require.NoError(t, os.Unsetenv(name))
	}
	t.Setenv("GOENV", goEnvFile(t, "GOPROXY=https://proxy.example", "GOMODCACHE=/the/modules", "GOFLAGS=-mod=vendor", "GOAMD64=v4", "GOFIPS140=latest"))
	env, _, err := environment()
	require.NoError(t, err)
	for _, want := range []string{"GOPROXY=https://proxy.example", "GOMODCACHE=/the/modules", "GOENV=off", "GOAMD64=v1"} {
		assert.Contains(t, env, want)
	}
	for _, variable := range env {
		assert.NotRegexp(t, "^(GOFLAGS|GOFIPS140)=", variable)
	}
}

// The image's bytes are the same whatever the caller's environment says.
func TestImageDoesNotDependOnTheEnvironment(t *testing.T) {
	dir := filepath.Dir(build(t))
	image := func(t *testing.T, variables ...string) string {
		t.Helper()
		out := filepath.Join(t.TempDir(), "kapsel.elf")
		status, _, said := command(t, dir, variables, "-o", out, tasks[0])
		require.Equal(t, 0, status, said)
		b, err := os.ReadFile(out)
		require.NoError(t, err)
		return string(b)
	}
	want := image(t)
	same := func(t *testing.T, variables ...string) {
		t.Helper()
		assert.True(t, want == image(t, variables...), "the image is another one with %q", variables)
	}
	for _, variable := range hostile {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			same(t, variable)
		})
	}
	t.Run("all at once", func(t *testing.T) { same(t, hostile...) })
	t.Run("a work space around it", func(t *testing.T) {
		work := filepath.Join(filepath.Dir(dir), "go.work")
		require.NoError(t, os.WriteFile(work, []byte("go 1.26.0\n"), 0o644))
		defer os.Remove(work)
		same(t)
	})
	t.Run("go env -w", func(t *testing.T) {
		same(t, "GOENV="+goEnvFile(t, "GOFIPS140=latest", "GOFLAGS=-mod=vendor", "GOAMD64=v4", "GOOS=darwin", "GO111MODULE=off", "CGO_ENABLED=1"))
	})
}

// The scripts build the command as if the caller's environment said nothing.
func TestScriptsDoNotDependOnTheEnvironment(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	scripts, err := filepath.Abs(filepath.Join("..", "..", "scripts"))
	require.NoError(t, err)
	file := goEnvFile(t, "GOFLAGS=-mod=vendor", "GOOS=darwin", "GOARCH=arm64", "GO111MODULE=off", "GOWORK=/nowhere/go.work", "GOAMD64=v4")
	for name, variables := range map[string][]string{"variables": hostile, "go env -w": {"GOENV=" + file}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			out := t.TempDir()
			cmd := exec.CommandContext(ctx, "bash", "-c", `. "$1/lib.sh"; build=$2; build_command; "$build/kapsel" version; go env GOFLAGS GOWORK`,
				"test", scripts, out)
			cmd.Env = append(os.Environ(), variables...)
			said, err := combinedOutput(cmd)
			require.NoError(t, err, said)
			assert.Regexp(t, `^kapsel \S+, go\S+ linux/amd64\n-buildvcs=false\noff$`, said)
		})
	}
}
