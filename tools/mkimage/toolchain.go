package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A toolchain is the pinned Go toolchain, with the replacement of its package runtime.
type toolchain struct {
	version string // go1.2.3
	goroot  string
	module  string // folder of module kapsel
	tags    string // further build tags, with commas between; may be empty
	env     []string
}

// findToolchain finds the toolchain that module kapsel's go.mod pins. The kernel stands on
// what the compiler and the linker ask of package runtime, which changes from one
// version to the next, so another version is refused.
func findToolchain() (*toolchain, error) {
	tc := new(toolchain)
	var err error
	// The caller's version finds the module, which says what version is pinned.
	if tc.env, tc.version, err = environment(); err != nil {
		return nil, err
	}
	if tc.module, err = output(tc.command("list", "-m", "-f", "{{.Dir}}", "kapsel")); err != nil {
		return nil, fmt.Errorf("cannot find module kapsel: run mkimage inside a module that requires it: %w", err)
	}
	if tc.version, err = pinnedVersion(filepath.Join(tc.module, "go.mod")); err != nil {
		return nil, err
	}
	said, err := output(tc.command("env", "GOVERSION", "GOROOT"))
	found, goroot, _ := strings.Cut(said, "\n")
	if err != nil || found != tc.version {
		if err != nil {
			found = err.Error()
		}
		return nil, fmt.Errorf("needs %s, which go.mod pins, found %s: the kernel is built on that version's interface to package runtime; "+
			"install it (https://go.dev/dl), or let the go command fetch it (GOTOOLCHAIN=%s go version)", tc.version, found, tc.version)
	}
	tc.goroot = goroot
	return tc, nil
}

// pinnedVersion returns the toolchain line of a go.mod.
func pinnedVersion(gomod string) (string, error) {
	b, err := os.ReadFile(gomod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "toolchain "); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("%q has no toolchain line, which should pin the Go version", gomod)
}

// command returns a go command that runs the pinned toolchain for the kernel's machine,
// whatever the caller's environment says.
func (tc *toolchain) command(args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Env = append(slices.Clone(tc.env), "GOTOOLCHAIN="+tc.version)
	return cmd
}

// callersOwn are the settings of Go's that the caller may make, in the environment or by go env
// -w: where modules come from, and where files are kept. All others can change what is built.
var callersOwn = []string{"GOAUTH", "GOCACHE", "GOCACHEPROG", "GOINSECURE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB",
	"GOPATH", "GOPRIVATE", "GOPROXY", "GOSUMDB", "GOTMPDIR", "GOVCS"}

// ours are the settings that a build is made with. What a module is made of tells its go.mod
// alone, not a go.work around it.
var ours = []string{"GOENV=off", "GO111MODULE=on", "GOWORK=off", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0"}

// environment returns the environment of the toolchain but for its version: the caller's without
// what is Go's or a C compiler's, what of Go's is the caller's own, and ours. It also returns the
// version that the caller wants, as GOTOOLCHAIN has it.
func environment() (env []string, version string, err error) {
	var theirs []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch {
		case slices.Contains(callersOwn, name), name == "GOENV", name == "GOTOOLCHAIN":
			theirs = append(theirs, variable)
		case !strings.HasPrefix(name, "GO") && !strings.HasPrefix(name, "CGO_") && !slices.Contains(compilers, name):
			env = append(env, variable)
		}
	}
	ask := exec.Command("go", append([]string{"env", "-json", "GOTOOLCHAIN"}, callersOwn...)...)
	ask.Env = append(theirs, env...)
	var settings map[string]string
	said, err := output(ask)
	if err == nil {
		err = json.Unmarshal([]byte(said), &settings)
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the settings of the go command: %w", err)
	}
	for _, name := range callersOwn {
		env = append(env, name+"="+settings[name])
	}
	return append(env, ours...), settings["GOTOOLCHAIN"], nil
}

// compilers are variables for cgo that do not begin as its others do.
var compilers = []string{"AR", "CC", "CXX", "FC", "GCCGO", "GCCGOTOOLDIR", "PKG_CONFIG"}

// stockFiles are the files of Go's package runtime that need nothing of the others: they stay.
// They zero and copy memory, decode strings into runes, and divide complex numbers.
var stockFiles = []string{"complex.go", "duff_amd64.s", "float.go", "utf8.go"}

// writeOverlay writes the go command's -overlay file into a folder, and returns its path: every file of package
// runtime is deleted but stockFiles, and those of guest/runtime stand in. For other sources texts may stand in.
func (tc *toolchain) writeOverlay(dir string, texts map[string][]byte) (string, error) {
	stock := filepath.Join(tc.goroot, "src", "runtime")
	ours := filepath.Join(tc.module, "guest", "runtime")
	replace, err := writeReplacements(dir, texts)
	if err != nil {
		return "", err
	}
	for from, target := range map[string]bool{stock: false, ours: true} {
		entries, err := os.ReadDir(from)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if ext != ".go" && ext != ".s" || slices.Contains(stockFiles, e.Name()) {
				continue
			}
			name := filepath.Join(stock, e.Name())
			switch {
			case target:
				replace[name] = filepath.Join(ours, e.Name())
			case replace[name] == "":
				replace[name] = ""
			}
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o644)
}

// output runs a command and returns its standard output without the last newline; the
// error carries what it said on standard error.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = errors.New(string(bytes.TrimSpace(exit.Stderr)))
	}
	return strings.TrimSuffix(string(out), "\n"), err
}
