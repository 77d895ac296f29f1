package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A toolchain is the pinned Go toolchain, with the replacement of its package runtime.
type toolchain struct {
	version string // go1.2.3
	goroot  string
	module  string // folder of module kapsel
	tags    string // further build tags, with commas between; may be empty
}

// findToolchain finds the toolchain that module kapsel's go.mod pins. The kernel stands on
// what the compiler and the linker ask of package runtime, which changes from one
// version to the next, so another version is refused.
func findToolchain() (*toolchain, error) {
	module, err := output(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "kapsel"))
	if err != nil {
		return nil, fmt.Errorf("cannot find module kapsel: run mkimage inside a module that requires it: %w", err)
	}
	tc := &toolchain{module: module}
	if tc.version, err = pinnedVersion(filepath.Join(module, "go.mod")); err != nil {
		return nil, err
	}
	env, err := output(tc.command("env", "GOVERSION", "GOROOT"))
	found, goroot, _ := strings.Cut(env, "\n")
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
	return "", fmt.Errorf("%s has no toolchain line, which should pin the Go version", gomod)
}

// command returns a go command that runs the pinned toolchain for the kernel's machine,
// whatever the environment says.
func (tc *toolchain) command(args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+tc.version, "GOFLAGS=", "GOEXPERIMENT=", "CGO_ENABLED=0",
		"GOOS=linux", "GOARCH=amd64", "GOAMD64=v1")
	return cmd
}

// writeOverlay writes the go command's -overlay file: every file of package runtime is
// deleted but duff_amd64.s, and those of guest/runtime stand in.
func (tc *toolchain) writeOverlay(path string) error {
	stock := filepath.Join(tc.goroot, "src", "runtime")
	ours := filepath.Join(tc.module, "guest", "runtime")
	replace := map[string]string{}
	for dir, target := range map[string]bool{stock: false, ours: true} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if ext != ".go" && ext != ".s" || e.Name() == "duff_amd64.s" {
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
		return err
	}
	return os.WriteFile(path, b, 0o644)
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
