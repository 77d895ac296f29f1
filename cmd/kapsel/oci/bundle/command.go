package bundle

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
)

// FirstFile is the descriptor of a command's first file.
const FirstFile = 3

// Command is a command line of "kapsel run".
type Command struct {
	Args   []string   // from "run" on
	Files  []*os.File // open; become descriptors 3, 4, ... of the process, by which Args names them
	Memory uint64     // the guest's, in bytes; 0 with a snapshot, which has its own
	Notes  []string   // what of the configuration has no effect, for the log

	TakeInterface bool // Args are to have the one of Interface besides
}

// Close closes the files.
func (c *Command) Close() {
	for _, f := range c.Files {
		f.Close()
	}
}

// add takes a file over, and returns the name by which the process can open it.
func (c *Command) add(f *os.File) string {
	c.Files = append(c.Files, f)
	return "/dev/fd/" + strconv.Itoa(FirstFile+len(c.Files)-1)
}

// note adds a line for the log.
func (c *Command) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Command makes the command line, for a bundle that is not foreign, and opens the files that it needs. The directory is the one of the command, whose kernel
// tasks without one run on.
func (b *Bundle) Command(directory string) (*Command, error) {
	c := &Command{Args: []string{"run", "--ask"}}
	if err := b.complete(c, directory); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// complete adds all that belongs behind "run".
func (b *Bundle) complete(c *Command, directory string) error {
	words, from, unknown, err := b.words()
	if err != nil {
		return err
	}
	for _, name := range unknown {
		c.note("annotation %q means nothing: known are %s%s", name, prefix, strings.Join(known, ", "+prefix))
	}
	p, reason, err := b.program(words, from)
	switch {
	case err != nil:
		return err
	case reason != "":
		return fmt.Errorf("nothing that Kapsel runs: %s", reason)
	}
	if p.host && b.Spec.VM.Hypervisor.Path != "" {
		c.note("vm.hypervisor %q is passed over: kapsel run is the hypervisor", b.Spec.VM.Hypervisor.Path)
	}
	for _, add := range []func(*Command, program, map[string]string) error{b.addMemory, b.addCmdline, b.addDevices} {
		if err := add(c, p, words); err != nil {
			return err
		}
	}
	arguments, err := b.addEnvironment(c, p)
	if err != nil {
		return err
	}
	if err := b.addProgram(c, p, directory); err != nil {
		return err
	}
	c.Args = append(c.Args, arguments...)
	return nil
}

// addCmdline adds the kernel's command line.
func (b *Bundle) addCmdline(c *Command, p program, words map[string]string) error {
	cmdline := words[wordCmdline]
	if p.host {
		cmdline = strings.Join(b.Spec.VM.Kernel.Parameters, " ")
	}
	switch {
	case cmdline == "":
		return nil
	case p.snapshot != "":
		return fmt.Errorf("%s%s: a snapshot has its command line: want none", prefix, wordCmdline)
	}
	c.Args = append(c.Args, "--cmdline="+cmdline)
	return checkCmdline(cmdline)
}

// checkCmdline refuses what the kernel does not take.
func checkCmdline(cmdline string) error {
	if len(cmdline) > abi.CmdlineMax || strings.IndexByte(cmdline, 0) >= 0 {
		return fmt.Errorf("the kernel's command line: want at most %d bytes and no NUL, found %d bytes", abi.CmdlineMax, len(cmdline))
	}
	return nil
}

// addDevices adds flags for devices.
func (b *Bundle) addDevices(c *Command, p program, words map[string]string) error {
	rng, err := parseRNG(words[wordRNG])
	if err != nil {
		return err
	}
	if rng {
		c.Args = append(c.Args, "--rng")
	}
	if err := b.addNetwork(c, p, words[wordNet]); err != nil {
		return err
	}
	return b.addDisks(c)
}

// parseRNG reads the word for random numbers.
func parseRNG(text string) (bool, error) {
	switch text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, fmt.Errorf("%s%s %.40q: want true or false", prefix, wordRNG, text)
}

// addEnvironment adds the process' environment, in a file, as secrets may be in it and every user of the host can read a command line, and returns its arguments, for behind the program, but for the first, which stands for that. A snapshot has those that it was taken with.
func (b *Bundle) addEnvironment(c *Command, p program) (arguments []string, err error) {
	process := b.Spec.Process
	if process == nil {
		return nil, nil
	}
	if p.snapshot != "" {
		c.note("process.args and process.env are passed over: a snapshot has those that it was taken with")
		return nil, nil
	}
	var environment []string
	for _, variable := range process.Env {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" {
			c.note("process.env %.100q is no NAME=VALUE", variable)
			continue
		}
		environment = append(environment, variable)
	}
	arguments = process.Args[1:]
	if err := vmm.CheckEnvironment(arguments, environment); err != nil {
		return nil, fmt.Errorf("process.args and process.env: %w", err)
	}
	if len(environment) > 0 {
		f, err := hold(strings.Join(environment, "\x00") + "\x00")
		if err != nil {
			return nil, err
		}
		c.Args = append(c.Args, "--env-from="+c.add(f))
	}
	if len(arguments) > 0 {
		arguments = append([]string{"--"}, arguments...)
	}
	return arguments, nil
}

// addProgram adds the snapshot, or the kernel and the tasks behind it.
func (b *Bundle) addProgram(c *Command, p program, directory string) error {
	if p.snapshot != "" {
		dir, err := openWithin(b.Root, p.snapshot, true)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", p.from, wordSnapshot, err)
		}
		c.Args = append(c.Args, "--from="+c.add(dir))
		return nil
	}
	if err := b.addKernel(c, p, directory); err != nil {
		return err
	}
	if len(p.tasks) > abi.MaxTasks {
		return fmt.Errorf("%s: %d files of tasks: want at most %d, the tasks that a machine has", p.from, len(p.tasks), abi.MaxTasks)
	}
	for _, task := range p.tasks {
		f, err := b.open(p, task)
		if err != nil {
			return fmt.Errorf("%s: task: %w", p.from, err)
		}
		c.Args = append(c.Args, c.add(f))
		if !isTasks(f) {
			return fmt.Errorf("%s: task %q: want a task in Tock Binary Format, or an archive of them (.tab)", p.from, task)
		}
	}
	return nil
}

// addKernel adds the kernel. Without one it is the one that comes with the command, in a directory that the container's user may not be let into.
func (b *Bundle) addKernel(c *Command, p program, directory string) (err error) {
	if p.kernel == "" {
		p.host = true
		if p.kernel, err = image.FindBare(directory); err != nil {
			return err
		}
	}
	f, err := b.open(p, p.kernel)
	if err != nil {
		return fmt.Errorf("%s: kernel: %w", p.from, err)
	}
	c.Args = append(c.Args, c.add(f))
	if !image.Is(f) {
		return fmt.Errorf("%s: kernel %q: want a Kapsel image, which mkimage makes; a task is named by %s", p.from, p.kernel, wordTasks)
	}
	return nil
}

// open opens a program's file.
func (b *Bundle) open(p program, path string) (*os.File, error) {
	if p.host {
		return openHost(path)
	}
	return openWithin(b.Root, path, false)
}
