package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Names below --root.
const (
	ourRoot     = "@kapsel" // ours: runc has the same --root, and takes no such ID
	stateFile   = "state.json"
	startFIFO   = "exec.fifo"
	foreignMark = "foreign" // the container is runc's
)

// A container is what the file of its state holds. Whether it runs is not in there: that is asked of the kernel.
type container struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Created     time.Time         `json:"created"`
	Complete    bool              `json:"complete"`   // create has done all
	HasProcess  bool              `json:"hasProcess"` // config.json says what to start
	Process     process           `json:"process"`
	Cgroup      string            `json:"cgroup"`
	HasCgroup   bool              `json:"hasCgroup"` // it is the container's: before that it could be another's
	Systemd     bool              `json:"systemdCgroup"`
	Hooks       specs.Hooks       `json:"hooks"` // as they were at create

	dir string
}

// A lock is a container's directory, open and locked. It is never held by two calls, and the kernel ends it with the process.
type lock struct{ *os.File }

// errNoContainer says that there is no container of an ID. Engines look for the words.
func errNoContainer(id string) error { return fmt.Errorf("container %q does not exist", id) }

// containers is the directory of the containers' directories.
func (r *call) containers() string { return filepath.Join(r.root, ourRoot) }

func (r *call) dirOf(id string) string { return filepath.Join(r.containers(), id) }

// reserve makes the directory of a new container, and locks it.
func (r *call) reserve(id string) (*lock, error) {
	if err := os.MkdirAll(r.containers(), 0o700); err != nil {
		return nil, fmt.Errorf("--root: %w", err)
	}
	for {
		err := os.Mkdir(r.dirOf(id), 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("container %q exists already: want an ID that is not in use, or kapsel oci delete it before", id)
		}
		if err != nil {
			return nil, fmt.Errorf("--root: %w", err)
		}
		l, err := r.lock(id)
		if !errors.Is(err, fs.ErrNotExist) { // a delete --force was quicker
			return l, err
		}
	}
}

// lock waits for the container's lock. It returns fs.ErrNotExist if there is none, or was removed before its turn came.
func (r *call) lock(id string) (*lock, error) {
	dir := r.dirOf(id)
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%q: lock: %w", dir, err)
	}
	now, err := os.Stat(dir)
	if err == nil {
		var mine os.FileInfo
		if mine, err = f.Stat(); err == nil && !os.SameFile(mine, now) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &lock{f}, nil
}

// locked says whether a call holds the container's lock now.
func locked(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// load reads the state of a container. One that create left before there was any has an ID alone.
func (r *call) load(id string) (*container, error) {
	c := &container{Version: specs.Version, ID: id, dir: r.dirOf(id)}
	if _, err := os.Stat(c.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, errNoContainer(id)
	}
	text, err := os.ReadFile(filepath.Join(c.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%q: want the state of a container, found: %w: kapsel oci delete --force removes it", filepath.Join(c.dir, stateFile), err)
	}
	return c, nil
}

// lockAndLoad waits for the lock of a container that there is, and reads its state.
func (r *call) lockAndLoad(id string) (*container, *lock, error) {
	l, err := r.lock(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errNoContainer(id)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("container %q: %w", id, err)
	}
	c, err := r.load(id)
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return c, l, nil
}

// save writes the state aside and renames it.
func (c *container) save() error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return c.replace(filepath.Join(c.dir, stateFile), text, 0o600)
}

// replace writes a file aside and renames it. Aside is the container's directory, which goes with the container, or that of the file if they are on different file systems.
func (c *container) replace(path string, text []byte, mode os.FileMode) error {
	err := renameio.WriteFile(path, text, mode, renameio.WithTempDir(c.dir))
	if errors.Is(err, unix.EXDEV) {
		err = renameio.WriteFile(path, text, mode, renameio.WithTempDir(filepath.Dir(path)))
	}
	return err
}

// status is what the container is now.
func (c *container) status() specs.ContainerState {
	if !c.Complete && locked(c.dir) {
		return specs.StateCreating
	}
	return c.lockedStatus()
}

// lockedStatus is the container's status for whoever has its lock: it is not being created.
func (c *container) lockedStatus() specs.ContainerState {
	switch {
	case !c.Complete, !c.Process.alive():
		return specs.StateStopped
	case c.Process.waiting():
		return specs.StateCreated
	}
	return specs.StateRunning
}

// state is the container's state for hooks and engines.
func (c *container) state(status specs.ContainerState) specs.State {
	s := specs.State{Version: c.Version, ID: c.ID, Status: status, Bundle: c.Bundle, Annotations: c.Annotations}
	if status != specs.StateStopped {
		s.Pid = c.Process.PID
	}
	return s
}
