package namespace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setns(2) joins a user namespace, and one of time, for a process of a single thread alone, which a Go program never is. So nsenter(1) joins those. It joins the others, too, and finds
// the order that their owners ask for. The pid namespace is left to spawn, for a program whose children are elsewhere can start no thread. nsenter executes this program in its own
// place, with the verb spawn, which starts the command in the namespaces that are new: they belong to the user namespace that it is in. The command is a child of create's (CLONE_PARENT).

// SpawnVerb is the verb of kapsel oci that calls Spawn.
const SpawnVerb = "spawn"

// firstStream is the descriptor of spawn's that is the command's standard input. The other streams follow, then the command's further files. The plan comes
// by spawn's own standard input, and the report goes by its standard output.
const firstStream = 3

// streams are standard input, output and error.
const streams = 3

// findPatience bounds nsenter's work for FindMappings.
const findPatience = 30 * time.Second

// A plan is what spawn is to start.
type plan struct {
	Path       string
	Args       []string
	Files      int // beside the streams
	Attributes *syscall.SysProcAttr
	Processes  string // the pid namespace to join, if any, whose descriptor follows those of the files
	MakeTime   bool
	Offsets    map[string]specs.LinuxTimeOffset
}

// A report is what came of a plan: a process, or what failed.
type report struct {
	PID   int
	Error string
}

// joins says whether the container has a namespace of the type that was there before.
func (s *Set) joins(t specs.LinuxNamespaceType) bool { return s.paths[t] != "" }

// joinsAlone says whether a namespace is joined that only a process of a single thread can join.
func (s *Set) joinsAlone() bool { return s.joins(specs.UserNamespace) || s.joins(specs.TimeNamespace) }

// nsenter finds the program.
func nsenter() (string, error) {
	path, err := exec.LookPath("nsenter")
	if err != nil {
		return "", fmt.Errorf("linux.namespaces: a user or a time namespace that exists is joined by the program nsenter: %w: install the package util-linux", err)
	}
	return path, nil
}

// descriptor is an option's value for a file of the program that reads it.
func descriptor(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// startByNsenter starts the command by nsenter and spawn. It runs on a thread of its own.
func (s *Set) startByNsenter(cmd *exec.Cmd, joined map[specs.LinuxNamespaceType]*os.File) error {
	path, err := nsenter()
	if err != nil {
		return err
	}
	files, err := standardFiles(cmd)
	if err != nil {
		return err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	p := s.planFor(cmd)
	files = append(files, cmd.ExtraFiles...)
	if f := joined[specs.PIDNamespace]; f != nil {
		p.Processes = f.Name()
		files = append(files, f)
	}
	program := descriptor(firstStream + len(files))
	args, spaces := s.options(joined, firstStream+len(files)+1)
	spawn := exec.Command(path, append(args, "--", program, "oci", SpawnVerb)...)
	spawn.ExtraFiles = append(append(files, self), spaces...)
	spawn.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: cmd.SysProcAttr.UseCgroupFD, CgroupFD: cmd.SysProcAttr.CgroupFD}
	pid, err := p.run(spawn)
	if err != nil {
		return err
	}
	cmd.Process, err = os.FindProcess(pid)
	return err
}

// planFor is the plan of a command, which is to be a sibling of spawn's.
func (s *Set) planFor(cmd *exec.Cmd) plan {
	attributes := *cmd.SysProcAttr
	attributes.Cloneflags |= unix.CLONE_PARENT
	attributes.UseCgroupFD, attributes.CgroupFD = false, 0 // nsenter is there already
	return plan{Path: cmd.Path, Args: cmd.Args, Files: len(cmd.ExtraFiles), Attributes: &attributes, MakeTime: s.Makes(specs.TimeNamespace), Offsets: s.offsets}
}

// options are nsenter's, and the files of the namespaces that it joins, which it has from a descriptor on.
func (s *Set) options(joined map[specs.LinuxNamespaceType]*os.File, first int) (args []string, files []*os.File) {
	args = []string{"--no-fork", "--preserve-credentials"}
	if s.joins(specs.UserNamespace) {
		args = append(args, "--setuid=0") // else executing spawn ends its privilege
	}
	for _, t := range joinOrder {
		if f := joined[t]; f != nil && t != specs.PIDNamespace {
			args = append(args, fmt.Sprintf("--%s=%s", optionName(t), descriptor(first+len(files))))
			files = append(files, f)
		}
	}
	return args, files
}

// optionName is nsenter's option for a type.
func optionName(t specs.LinuxNamespaceType) string {
	if t == specs.MountNamespace {
		return "mount"
	}
	return procName(t)
}

// standardFiles are a command's standard streams.
func standardFiles(cmd *exec.Cmd) ([]*os.File, error) {
	files := make([]*os.File, 0, streams)
	for i, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, ok := stream.(*os.File)
		if !ok || f == nil {
			return nil, fmt.Errorf("standard stream %d of the container is a %T: want a file", i, stream)
		}
		files = append(files, f)
	}
	return files, nil
}

// run has spawn start what is planned, and returns the process.
func (p plan) run(spawn *exec.Cmd) (pid int, err error) {
	text, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	spawn.Stdin = bytes.NewReader(text)
	out, err := spawn.Output()
	if err != nil {
		return 0, said(err)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, fmt.Errorf("spawn: %w", err)
	}
	if r.Error != "" {
		return 0, errors.New(r.Error)
	}
	if err := unix.Waitid(unix.P_PID, r.PID, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil { // others of the user namespace may have had a hand in it
		return 0, fmt.Errorf("spawn: process %d: %w: want a child", r.PID, err)
	}
	return r.PID, nil
}

// said is an error of nsenter's with what it said.
func said(err error) error {
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return err
	}
	words := strings.TrimSpace(string(ended.Stderr))
	return fmt.Errorf("linux.namespaces: %.500s (%w): want namespaces of those types, none of users that is the runtime's own, and the right to join them", words, err)
}

// Spawn starts what the plan at standard input has, as a sibling, and reports it to standard output.
func Spawn(in io.Reader, out io.Writer) error {
	if err := unix.CloseRange(firstStream, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	var p plan
	if err := json.NewDecoder(in).Decode(&p); err != nil {
		return fmt.Errorf("spawn is not for people: kapsel oci create calls it: %w", err)
	}
	var r report
	pid, err := p.start()
	if r.PID = pid; err != nil {
		r.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(r)
}

// start starts what is planned.
func (p plan) start() (pid int, err error) {
	var files []*os.File
	last := firstStream + streams + p.Files
	for fd := firstStream; fd < last; fd++ {
		files = append(files, os.NewFile(uintptr(fd), "for the container"))
	}
	joined := map[specs.LinuxNamespaceType]*os.File{}
	if p.Processes != "" {
		joined[specs.PIDNamespace] = os.NewFile(uintptr(last), p.Processes)
	}
	cmd := &exec.Cmd{Path: p.Path, Args: p.Args, Stdin: files[0], Stdout: files[1], Stderr: files[2], ExtraFiles: files[streams:], SysProcAttr: p.Attributes}
	err = OnThread(func() error { return startWithin(cmd, joined, p.MakeTime, p.Offsets) })
	if err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// FindMappings reads the mappings of a user namespace that is joined, by a process that joins it. Those of the configuration have to be the same, if it has any.
func (s *Set) FindMappings() error {
	if !s.joins(specs.UserNamespace) {
		return nil
	}
	path, err := nsenter()
	if err != nil {
		return err
	}
	f, err := open(specs.UserNamespace, s.paths[specs.UserNamespace])
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), findPatience)
	defer cancel()
	cat := exec.CommandContext(ctx, path, "--user="+descriptor(firstStream), "--preserve-credentials", "--", "cat")
	cat.ExtraFiles = []*os.File{f}
	uids, gids, err := mappingsOf(cat)
	if err != nil {
		return fmt.Errorf("user namespace %q: %w", f.Name(), err)
	}
	switch {
	case len(s.uids) > 0 && !slices.Equal(s.uids, uids), len(s.gids) > 0 && !slices.Equal(s.gids, gids):
		return fmt.Errorf("linux.uidMappings %v and gidMappings %v: want those of the user namespace, %v and %v, or none", s.uids, s.gids, uids, gids)
	case !maps(uids, 0) || !maps(gids, 0):
		return fmt.Errorf("user namespace %q: want user 0 and group 0 in it, who make the container, found the users %v and the groups %v", f.Name(), uids, gids)
	}
	s.uids, s.gids = uids, gids
	return nil
}

// mappingsOf reads the mappings of a command that echoes, once it does.
func mappingsOf(cat *exec.Cmd) (uids, gids []syscall.SysProcIDMap, err error) {
	in, err := cat.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cat.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	var words bytes.Buffer
	cat.Stderr = &words
	if err := cat.Start(); err != nil {
		return nil, nil, err
	}
	io.WriteString(in, "\n") // if that fails, so does what follows
	_, err = io.ReadFull(out, make([]byte, 1))
	if err == nil {
		uids, err = readMappings(cat.Process.Pid, "uid_map")
	}
	if err == nil {
		gids, err = readMappings(cat.Process.Pid, "gid_map")
	}
	in.Close()
	if ended := cat.Wait(); ended != nil {
		err = fmt.Errorf("%.500s (%w): want one that is not the runtime's own, and the right to join it", strings.TrimSpace(words.String()), ended)
	}
	return uids, gids, err
}

// readMappings reads a process' mappings (user_namespaces(7), "User and group ID mappings"), as this process sees them.
func readMappings(pid int, name string) (m []syscall.SysProcIDMap, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		var e syscall.SysProcIDMap
		if _, err := fmt.Sscan(line, &e.ContainerID, &e.HostID, &e.Size); err != nil {
			return nil, fmt.Errorf("%s: %.80q: want three numbers: %w", name, line, err)
		}
		m = append(m, e)
	}
	return m, nil
}
