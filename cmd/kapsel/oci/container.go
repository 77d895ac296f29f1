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
	stateCopy   = "state.copy" // of the same, for what undoes a container whose state is damaged
	holderFile  = "holder"     // the process that has the lock, if it may hold that for long
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

// Bounds of what waits for a lock: lockPatience is for whoever has it to let it go, and lockGrace what a delete --force leaves create or start of that, behind killing their container, to
// undo what they did. Until a delete has removed the directory, which ends the wait as well, it takes less than lockPatience.
var (
	lockPatience = 30 * time.Second
	lockGrace    = 2 * time.Second
)

// lockPause is between two looks at a lock.
const lockPause = 5 * time.Millisecond

// hold says who has the lock, for a delete --force: create and start do, whose hooks may take any time.
func (l *lock) hold() error {
	me, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	text, err := json.Marshal(me)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(int(l.Fd()), holderFile, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("%q: %w", holderFile, err)
	}
	f := os.NewFile(uintptr(fd), holderFile)
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// Close unlocks.
func (l *lock) Close() error {
	unix.Unlinkat(int(l.Fd()), holderFile, 0) // of a delete's lock there is none
	return l.File.Close()
}

// holder is who holds the lock of a directory, as far as that is known.
func holder(dir *os.File) (p process, known bool) {
	fd, err := unix.Openat(int(dir.Fd()), holderFile, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return p, false
	}
	f := os.NewFile(uintptr(fd), holderFile)
	defer f.Close()
	err = json.NewDecoder(f).Decode(&p)
	return p, err == nil && p.alive()
}

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
		l, err := r.lock(id, false)
		if errors.Is(err, fs.ErrNotExist) { // a delete --force was quicker
			continue
		}
		if err == nil {
			err = l.hold()
		}
		return l, err
	}
}

// lock waits for the container's lock, by force of one who has it for long, too. It returns fs.ErrNotExist if there is none, or was removed before its turn came.
func (r *call) lock(id string, force bool) (*lock, error) {
	dir := r.dirOf(id)
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := waitForLock(f, force); err != nil {
		f.Close()
		return nil, err
	}
	return &lock{f}, nil
}

// remains is nil as long as a directory is what its path names, else fs.ErrNotExist.
func remains(dir *os.File) error {
	now, err := os.Stat(dir.Name())
	if err != nil {
		return err
	}
	mine, err := dir.Stat()
	if err == nil && !os.SameFile(mine, now) {
		err = fs.ErrNotExist
	}
	return err
}

// waitForLock waits until nobody else has the lock of a directory, and takes it, or until the directory is removed: who did that may have hooks to run.
func waitForLock(dir *os.File, force bool) error {
	for begun := time.Now(); ; time.Sleep(lockPause) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if gone := remains(dir); gone != nil || err == nil {
			return gone
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("%q: lock: %w", dir.Name(), err)
		}
		waited := time.Since(begun)
		p, known := holder(dir)
		switch {
		case waited > lockPatience && known:
			return fmt.Errorf("process %d has been at it for more than %v, perhaps in a hook: want its end, or delete --force, which ends it", p.PID, lockPatience)
		case waited > lockPatience:
			return fmt.Errorf("another call has been at it for more than %v: try again", lockPatience)
		case force && known && waited > lockGrace:
			p.killWithChildren() // it may have ended
		}
	}
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
	err := c.read(stateFile)
	if err == nil {
		return c, nil
	}
	another := &container{Version: specs.Version, ID: id, dir: c.dir}
	switch other := another.read(stateCopy); {
	case other == nil:
		r.log.warn("%v: its copy stands in", err)
		return another, nil
	case errors.Is(err, fs.ErrNotExist) && errors.Is(other, fs.ErrNotExist):
		return &container{Version: specs.Version, ID: id, dir: c.dir}, nil
	}
	return nil, fmt.Errorf("container %q: %w: kapsel oci delete --force removes what is known of it", id, err)
}

// read reads a file of the container's state.
func (c *container) read(name string) error {
	path := filepath.Join(c.dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	id := c.ID
	if err := json.Unmarshal(text, c); err != nil {
		return fmt.Errorf("%q: want the state of a container, found: %w", path, err)
	}
	if c.ID != id || c.Cgroup == "" {
		return fmt.Errorf("%q: want the state of container %q, with its cgroup, found one of %s, in %s", path, id, short(c.ID), short(c.Cgroup))
	}
	return nil
}

// lockAndLoad waits for the lock of a container that there is, and reads its state.
func (r *call) lockAndLoad(id string) (*container, *lock, error) {
	l, err := r.lock(id, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errNoContainer(id)
	}
	if err == nil {
		err = l.hold()
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

// save writes the state and its copy, each aside, and renames them.
func (c *container) save() error {
	text, err := json.Marshal(c)
	for _, name := range []string{stateCopy, stateFile} {
		if err == nil {
			err = c.replace(filepath.Join(c.dir, name), text, 0o600)
		}
	}
	return err
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
