package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/oci/bundle"
	"kapsel/cmd/kapsel/oci/namespace"
)

// initArgs begin the command line of a container's process, until it is "kapsel run".
var initArgs = []string{"kapsel", "oci", initVerb}

// self is this program, in whatever mount namespace.
const self = "/proc/self/exe"

// A birth is what create tells the container's process.
type birth struct {
	Args            []string // of kapsel run, from "run" on
	Files           int      // of kapsel run, from bundle.FirstFile on
	TakeInterface   bool     // bundle.Interface is one of Args
	State           specs.State
	CreateContainer []specs.Hook
	StartContainer  []specs.Hook
	Settings        settings
}

// An answer is what the process tells back: of each step, what failed. To start it tells what to warn of, and at last that it is Ready, which kapsel run does.
type answer struct {
	Error    string   `json:"error,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Ready    bool     `json:"ready,omitempty"`
}

// Ready is the answer by which "kapsel run --ready" says that signals reach it.
const Ready = `{"ready":true}` + "\n"

func (a answer) err() error {
	if a.Error == "" {
		return nil
	}
	return errors.New(a.Error)
}

// A line is the container's process' end of the socket to create.
type line struct {
	*json.Decoder
	*json.Encoder
}

// tell answers what a step came to, which it returns.
func (l line) tell(err error) error {
	var a answer
	if err != nil {
		a.Error = err.Error()
	}
	if lost := l.Encode(a); err == nil {
		err = lost
	}
	return err
}

// becomeContainer is the hidden verb init: the container's process, from its first moment in the namespaces until it executes kapsel run. Each of its steps is one that
// create, or start, asks for; it ends when create does so before it has done all. The files of kapsel run are descriptors 3 and up, then follow the socket to create and the FIFO.
func becomeContainer() (int, error) {
	socket, fifo, err := inherited(os.Args[min(len(initArgs), len(os.Args)):])
	if err != nil {
		return statusFailed, err
	}
	goruntime.LockOSThread() // what follows changes the thread, which is the one that executes kapsel run
	l := line{json.NewDecoder(socket), json.NewEncoder(socket)}
	var b birth
	if err := l.Decode(&b); err != nil {
		return statusFailed, fmt.Errorf("init: create has ended: %w", err)
	}
	b.State.Pid = os.Getpid() // as the container sees it
	for _, step := range []func() error{
		func() error {
			if err := b.Settings.apply(); err != nil {
				return err
			}
			return b.tryFiles()
		},
		func() error { return runHooks("createContainer", b.CreateContainer, b.State) },
	} {
		if err := l.tell(step()); err != nil {
			return statusFailed, nil // create says it
		}
		var next answer
		if err := l.Decode(&next); err != nil {
			return statusFailed, fmt.Errorf("init: create has ended: %w", err)
		}
	}
	socket.Close()
	return statusFailed, b.awaitStart(fifo)
}

// inherited are the socket to create and the FIFO, by the arguments of init.
func inherited(args []string) (socket *os.File, fifo int, err error) {
	first := 0
	if len(args) == 1 {
		first, _ = strconv.Atoi(args[0])
	}
	if first < bundle.FirstFile {
		return nil, 0, errors.New("init is not for people: kapsel oci create calls it")
	}
	if err := unix.CloseRange(bundle.FirstFile, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil { // whatever the engine has left open, too
		return nil, 0, fmt.Errorf("init: %w", err)
	}
	return os.NewFile(uintptr(first), "socket to create"), first + 1, nil
}

// awaitStart waits until start opens the FIFO, and executes kapsel run, which closes it when signals reach it: before, the first process of a PID namespace
// would lose them. It returns only if that fails, and has told start.
func (b *birth) awaitStart(fifo int) error {
	w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fifo), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("init: %s: %w", startFIFO, err)
	}
	err = b.become(w)
	if json.NewEncoder(w).Encode(answer{Error: err.Error()}) != nil { // nobody else says it
		return err
	}
	return nil
}

// become executes kapsel run, which has the FIFO to start. It returns only if that, or what comes before it, fails.
func (b *birth) become(start *os.File) error {
	b.State.Status = specs.StateCreated
	if err := runHooks("startContainer", b.StartContainer, b.State); err != nil {
		return err
	}
	if err := b.takeInterface(start); err != nil {
		return err
	}
	if mask := b.Settings.User.Umask; mask != nil {
		syscall.Umask(int(*mask))
	}
	if err := b.Settings.drop(); err != nil {
		return err
	}
	if err := keepFiles(bundle.FirstFile, b.Files); err != nil {
		return err
	}
	if err := keepFiles(int(start.Fd()), 1); err != nil {
		return err
	}
	args := append([]string{"kapsel", b.Args[0], fmt.Sprintf("--ready=%d", start.Fd())}, b.Args[1:]...)
	return fmt.Errorf("execute kapsel run: %w", syscall.Exec(self, args, os.Environ()))
}

// takeInterface adds the interface that the engine has given to the container, whenever it has: before create, as CNI does, by a hook of create, as Docker does, or behind create, as podman
// does for a user namespace. It needs capabilities whatever process.capabilities are.
func (b *birth) takeInterface(start io.Writer) error {
	if !b.TakeInterface {
		return nil
	}
	arg, notes, err := bundle.Interface()
	switch {
	case err != nil:
		return err
	case arg == "" && notes == nil:
		return nil
	case arg == "":
		return json.NewEncoder(start).Encode(answer{Warnings: notes})
	}
	b.Args = slices.Insert(b.Args, 1, arg)
	b.Settings.Capabilities.grant(linkCapabilities)
	return nil
}

// keepFiles keeps n files from a descriptor on open for kapsel run, which hooks have not seen.
func keepFiles(first, n int) error {
	for fd := first; fd < first+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// settings are the properties of a configuration that the container's process gives itself.
type settings struct {
	NewMounts, NewProcesses, NewCgroup, NewUsers bool

	Hostname, Domainname string
	Sysctls              map[string]string // by their files below /proc/sys
	OOMScore             *int
	Limits               []limit

	User            specs.User
	Capabilities    capabilities
	NoNewPrivileges bool
}

// A limit is one of setrlimit(2).
type limit struct {
	Name     string
	Resource int
	unix.Rlimit
}

// apply does what create is to do. The settings that could be in its way come last.
func (s *settings) apply() error {
	if s.NewMounts { // unmounts of the host's reach it, ours do not reach the host
		if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount namespace: %w", err)
		}
	}
	if s.NewMounts && s.NewProcesses && !s.NewUsers { // else /proc/1 is the host's first process, not this one
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("/proc of the pid namespace: %w", err)
		}
	}
	if s.NewCgroup {
		if err := namespace.UnshareCgroup(); err != nil {
			return err
		}
	}
	if s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("hostname %s: %w", short(s.Hostname), err)
		}
	}
	if s.Domainname != "" {
		if err := unix.Setdomainname([]byte(s.Domainname)); err != nil {
			return fmt.Errorf("domainname %s: %w", short(s.Domainname), err)
		}
	}
	for file, value := range s.Sysctls {
		if err := writeTo("/proc/sys/"+file, value); err != nil {
			return fmt.Errorf("linux.sysctl %s: %w", short(file), err)
		}
	}
	if s.OOMScore != nil {
		if err := writeTo("/proc/self/oom_score_adj", strconv.Itoa(*s.OOMScore)); err != nil {
			return fmt.Errorf("process.oomScoreAdj %d: %w: less than it is now needs CAP_SYS_RESOURCE, which containerd's restrict_oom_score_adj heeds", *s.OOMScore, err)
		}
	}
	for _, l := range s.Limits {
		if err := unix.Setrlimit(l.Resource, &l.Rlimit); err != nil {
			return fmt.Errorf("process.rlimits %s, soft %d, hard %d: %w: more than the hard limit now needs CAP_SYS_RESOURCE, so have the engine ask for less, as podman --ulimit does",
				l.Name, l.Cur, l.Max, err)
		}
	}
	return nil
}

// writeTo writes a file that exists.
func writeTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}
