package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hookGrace is how long the output of a hook that has ended, or was killed, is waited for: a child of its may hold it.
const hookGrace = 2 * time.Second

// maxTimeout is the longest timeout of a hook, in seconds: a year.
const maxTimeout = 365 * 24 * 60 * 60

// errHookTimeout says that a hook took longer than it may.
var errHookTimeout = errors.New("it took longer than its timeout")

// checkHooks checks the hooks of a configuration (config.md, POSIX-platform Hooks).
func checkHooks(hooks *specs.Hooks) error {
	if hooks == nil {
		return nil
	}
	for _, list := range []struct {
		kind  string
		hooks []specs.Hook
	}{
		{"prestart", prestart(hooks)}, {"createRuntime", hooks.CreateRuntime}, {"createContainer", hooks.CreateContainer},
		{"startContainer", hooks.StartContainer}, {"poststart", hooks.Poststart}, {"poststop", hooks.Poststop},
	} {
		for i, h := range list.hooks {
			switch {
			case !filepath.IsAbs(h.Path):
				return fmt.Errorf("hooks.%s[%d].path %s: want an absolute path", list.kind, i, short(h.Path))
			case h.Timeout != nil && (*h.Timeout <= 0 || *h.Timeout > maxTimeout):
				return fmt.Errorf("hooks.%s[%d].timeout %d: want a number of seconds greater than 0 and at most %d, or none", list.kind, i, *h.Timeout, maxTimeout)
			}
		}
	}
	return nil
}

// prestart are the hooks of that name, which engines still have.
func prestart(hooks *specs.Hooks) []specs.Hook {
	return hooks.Prestart //lint:ignore SA1019 the specification wants them run
}

// runHooks runs hooks one after another, with the container's state on their standard input, and returns the first failure.
func runHooks(kind string, hooks []specs.Hook, s specs.State) error {
	for i := range hooks {
		if err := runHook(hooks[i], s); err != nil {
			return fmt.Errorf("hook %s[%d], %q: %w", kind, i, hooks[i].Path, err)
		}
	}
	return nil
}

// runHook runs a hook in a process group of its own, which is killed when its time is over.
func runHook(h specs.Hook, s specs.State) error {
	state, err := json.Marshal(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if h.Timeout != nil {
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(*h.Timeout)*time.Second, errHookTimeout)
	}
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Args = h.Args
	if len(cmd.Args) == 0 {
		cmd.Args = []string{h.Path}
	}
	cmd.Env = append([]string{}, h.Env...) // not nil: that would be our own
	cmd.Dir = s.Bundle
	cmd.Stdin = bytes.NewReader(state)
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // nothing of a call stays that is killed
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hookGrace
	err = cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay), errors.Is(err, syscall.EPIPE) && cmd.ProcessState.Success(): // it did not read the state
		return nil
	case context.Cause(ctx) != nil:
		err = fmt.Errorf("%w of %d s", context.Cause(ctx), *h.Timeout)
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		err = fmt.Errorf("%w: it said %q", err, text)
	}
	return err
}

// A tail keeps the last of what is written to it.
type tail struct{ kept []byte }

// maxTail is how much a tail keeps, in bytes.
const maxTail = 1024

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxTail):]...)
	t.kept = append(t.kept[:0], t.kept[max(0, len(t.kept)-maxTail):]...)
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }
