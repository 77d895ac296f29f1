package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// foreignRuntime runs the containers that are not Kapsel's.
const foreignRuntime = "runc"

// isForeign says whether a container is runc's.
func (r *call) isForeign(id string) bool {
	_, err := os.Lstat(filepath.Join(r.dirOf(id), foreignMark))
	return err == nil
}

// findRunc returns the path of runc.
func findRunc() (string, error) {
	path, err := exec.LookPath(foreignRuntime)
	if err != nil {
		return "", fmt.Errorf("the container has no Kapsel image, so runc is to run it: %w: install runc, or name a Kapsel image by the annotation org.kapsel.kernel", err)
	}
	return path, nil
}

// runc becomes runc, with the same words, whatever container they are about.
func (r *call) runc(string) (int, error) {
	path, err := findRunc()
	if err != nil {
		return statusFailed, err
	}
	return statusFailed, fmt.Errorf("execute %q: %w", path, syscall.Exec(path, append([]string{foreignRuntime}, r.args...), os.Environ()))
}

// waitRunc runs runc with the same words, and returns its status. What it says is said.
func (r *call) waitRunc() (int, error) {
	path, err := findRunc()
	if err != nil {
		return statusFailed, err
	}
	cmd := exec.Command(path, r.args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.std.In, r.std.Out, r.std.Err
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return statusFailed, fmt.Errorf("%q: %w", path, err)
	}
	return statusDone, nil
}

// createForeign has runc create a container, and marks it as runc's, so that later verbs go there.
func (r *call) createForeign(id string) (int, error) {
	l, marked, err := r.mark(id)
	if err != nil {
		return statusFailed, err
	}
	defer l.Close()
	status, err := r.waitRunc()
	if marked && (err != nil || status != statusDone) {
		err = errors.Join(err, os.RemoveAll(r.dirOf(id)))
	}
	return status, err
}

// mark locks a container of runc's, and marks it as such, if it is not yet: then perhaps the mark is all that there is of it, which is runc's to say.
func (r *call) mark(id string) (l *lock, marked bool, err error) {
	if r.isForeign(id) {
		l, err = r.lock(id, false)
		return l, false, err
	}
	if l, err = r.reserve(id); err != nil {
		return nil, false, err
	}
	if err := os.WriteFile(filepath.Join(r.dirOf(id), foreignMark), nil, 0o600); err != nil {
		return nil, false, errors.Join(err, os.RemoveAll(r.dirOf(id)), l.Close())
	}
	return l, true, nil
}

// runForeign has runc run a container, which it deletes unless that is kept. Others may have to do with it meanwhile.
func (r *call) runForeign(id string, kept bool) (int, error) {
	l, marked, err := r.mark(id)
	if err != nil {
		return statusFailed, err
	}
	l.Close()
	status, err := r.waitRunc()
	if marked && !kept {
		err = errors.Join(err, os.RemoveAll(r.dirOf(id)))
	}
	return status, err
}

// deleteForeign has runc delete a container, and then removes the mark.
func (r *call) deleteForeign(id string, force bool) (int, error) {
	l, err := r.lock(id, force)
	if errors.Is(err, fs.ErrNotExist) { // another delete was quicker: runc knows
		return r.runc(id)
	}
	if err != nil {
		return statusFailed, fmt.Errorf("container %q: %w", id, err)
	}
	defer l.Close()
	status, err := r.waitRunc()
	if err == nil && status == statusDone {
		err = os.RemoveAll(r.dirOf(id))
	}
	return status, err
}

// otherVerb is a verb that is not ours. It goes to runc if one of the words is a container of runc's.
func (r *call) otherVerb(name string, args []string) (int, error) {
	for _, word := range args {
		if checkID(word) == nil && r.isForeign(word) {
			return r.runc(word)
		}
	}
	return statusFailed, fmt.Errorf("oci: no verb %s: want create, start, state, kill, delete, run, list or features; a machine has no processes that exec, ps or update could be about", short(name))
}
