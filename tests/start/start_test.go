// Package start measures how long a machine, and a container, takes from its command to the first output of its program (docs/benchmarks.md).
package start

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/snapshot"
)

// patience is the longest that one start may take.
const patience = 2 * time.Minute

// greeting begins what each of the programs prints first.
const greeting = "hello"

// groups is where cgroups of version 2 are.
const groups = "/sys/fs/cgroup"

// runc is the path of runc.
const runc = "/usr/sbin/runc"

// BenchmarkStart is the time from the beginning of a command to the first output of the program that it runs, and what all its processes worked until then, with Linux on their behalf
// (cpu.stat of their cgroup). The program prints a line: under runc it is bench/peers/hello.c, else the task hello.
func BenchmarkStart(b *testing.B) {
	for _, test := range []struct {
		name    string
		command func(b *testing.B, id string) []string
	}{
		{"version", func(b *testing.B, _ string) []string { return []string{machine.File(b, "kapsel"), "version"} }},
		{"run", func(b *testing.B, _ string) []string {
			return []string{machine.File(b, "kapsel"), "run", machine.File(b, "hello.tbf")}
		}},
		{"from", func(b *testing.B, _ string) []string {
			return []string{machine.File(b, "kapsel"), "run", "--from", saved(b)}
		}},
		{"oci", func(b *testing.B, id string) []string {
			return []string{machine.File(b, "kapsel"), "oci", "--root", b.TempDir(), "run", "--bundle", bundle(b, machine.File(b, "hello.tbf")), id}
		}},
		{"runc", func(b *testing.B, id string) []string {
			return []string{runc, "--root", b.TempDir(), "run", "--no-pivot", "--bundle", bundle(b, machine.File(b, "bench/peers/hello")), id} // the rig's root cannot be pivoted from
		}},
	} {
		b.Run(test.name, func(b *testing.B) { benchmark(b, test.command) })
	}
}

// benchmark begins a command again and again.
func benchmark(b *testing.B, command func(b *testing.B, id string) []string) {
	if err := vmm.Probe(b.Context()); err != nil {
		b.Skip(err)
	}
	if _, err := os.Stat(filepath.Join(groups, "cgroup.controllers")); err != nil {
		b.Skipf("no cgroups of version 2 alone: %v", err)
	}
	var total took
	for n := range b.N {
		id := fmt.Sprintf("start-%d-%d", b.N, n)
		t := begin(b, command(b, id))
		total.passed, total.used = total.passed+t.passed, total.used+t.used
	}
	b.ReportMetric(float64(total.passed.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(float64(total.used.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// took is how long a start took, and for how long its processes had a processor.
type took struct{ passed, used time.Duration }

// begin begins a command in a cgroup of its own, waits for the greeting, and then for the command's end.
func begin(b *testing.B, args []string) (t took) {
	b.Helper()
	group := filepath.Join(groups, "start")
	require.NoError(b, os.MkdirAll(filepath.Join(group, "command"), 0o755))
	in, err := os.Open(filepath.Join(group, "command"))
	require.NoError(b, err)
	defer in.Close()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(in.Fd())}
	var complaints bytes.Buffer
	command.Stderr = &complaints
	out, err := command.StdoutPipe()
	require.NoError(b, err)
	before, started := used(b, group), time.Now()
	require.NoError(b, command.Start())
	text, err := until(out, greeting)
	t.passed, t.used = time.Since(started), used(b, group)-before
	if err == nil {
		_, err = io.Copy(io.Discard, out)
	}
	ended := command.Wait()
	require.NoError(b, errors.Join(err, ended), "%v\n%s\n%s", args, text, &complaints)
	return t
}

// until reads until a text was read; what prints its version has said enough.
func until(r io.Reader, text string) (read []byte, err error) {
	piece := make([]byte, 4096)
	for !bytes.Contains(read, []byte(text)) && !bytes.HasPrefix(read, []byte("kapsel ")) && err == nil {
		var n int
		n, err = r.Read(piece)
		read = append(read, piece[:n]...)
	}
	return read, err
}

// used is how long the processes of a cgroup, and of those below it, have had a processor.
func used(b *testing.B, group string) time.Duration {
	text, err := os.ReadFile(filepath.Join(group, "cpu.stat"))
	require.NoError(b, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			require.NoError(b, err)
			return time.Duration(n) * time.Microsecond
		}
	}
	require.Fail(b, "no usage_usec", "%s", text)
	return 0
}

// bundle makes a bundle of a program, as "runc spec" makes one, in a cgroup below that of the command.
func bundle(b *testing.B, program string) string {
	b.Helper()
	dir := b.TempDir()
	name := "/" + filepath.Base(program)
	content, err := os.ReadFile(program)
	require.NoError(b, err)
	require.NoError(b, os.Mkdir(filepath.Join(dir, "rootfs"), 0o755))
	require.NoError(b, os.WriteFile(filepath.Join(dir, "rootfs", name), content, 0o755))
	spec := exec.Command(runc, "spec", "--bundle", dir)
	text, err := spec.CombinedOutput()
	require.NoError(b, err, "%s", text)
	file := filepath.Join(dir, "config.json")
	text, err = os.ReadFile(file)
	require.NoError(b, err)
	var s specs.Spec
	require.NoError(b, json.Unmarshal(text, &s))
	s.Process.Args, s.Process.Terminal, s.Linux.CgroupsPath = []string{name}, false, "/start/container"
	text, err = json.Marshal(&s)
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(file, text, 0o644))
	return dir
}

// saved saves the machine as it is when its task has begun to print, and returns the directory.
func saved(b *testing.B) string {
	b.Helper()
	s := taken(b)
	defer s.Close()
	dir := filepath.Join(b.TempDir(), "snapshot")
	require.NoError(b, s.Save(dir))
	return dir
}

// taken is a snapshot of a machine when its task has begun to print.
func taken(b *testing.B) *snapshot.Snapshot {
	b.Helper()
	m, exit, err := boot(b)
	require.NoError(b, err)
	defer m.Close()
	require.Equal(b, vmm.Exit{Reason: vmm.Paused}, exit)
	s, err := m.Snapshot()
	require.NoError(b, err)
	return s
}

// boot boots a machine and runs it until its task has begun to print.
func boot(b *testing.B) (*vmm.Machine, vmm.Exit, error) {
	b.Helper()
	img, err := image.Open(b.Context(), machine.File(b, "bare.elf"))
	require.NoError(b, err)
	return run(b, greeting+":", func(c vmm.Config) (*vmm.Machine, error) {
		c.Image, c.Modules = img, [][]byte{machine.Object(b, "hello.tbf")}
		return vmm.New(b.Context(), c)
	})
}

// run runs a machine until it has printed a text.
func run(b *testing.B, text string, make func(vmm.Config) (*vmm.Machine, error)) (*vmm.Machine, vmm.Exit, error) {
	b.Helper()
	c := &console{until: text}
	m, err := make(vmm.Config{InStep: true, Console: c})
	require.NoError(b, err)
	c.pause = m.Pause
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	exit, err := m.Run(ctx)
	return m, exit, err
}

// console pauses its machine behind a text.
type console struct {
	text  []byte
	until string
	pause func()
}

func (c *console) Write(p []byte) (int, error) {
	c.text = append(c.text, p...)
	if bytes.Contains(c.text, []byte(c.until)) {
		c.pause()
	}
	return len(p), nil
}

// BenchmarkPool is what a pool of snapshots could save at the most: a machine that boots, and one that goes on from a snapshot that lies in memory already, each until its task prints; and
// what it takes to read that snapshot from its files.
func BenchmarkPool(b *testing.B) {
	if err := vmm.Probe(b.Context()); err != nil {
		b.Skip(err)
	}
	s := taken(b)
	defer s.Close()
	dir := filepath.Join(b.TempDir(), "snapshot")
	require.NoError(b, s.Save(dir))
	b.Run("boot", func(b *testing.B) {
		measure(b, func() *vmm.Machine {
			m, exit, err := boot(b)
			require.NoError(b, err)
			require.Equal(b, vmm.Exit{Reason: vmm.Paused}, exit)
			return m
		})
	})
	b.Run("fork", func(b *testing.B) {
		measure(b, func() *vmm.Machine {
			m, exit, err := run(b, " ", func(c vmm.Config) (*vmm.Machine, error) { return vmm.Fork(b.Context(), s, c, vmm.StandStill) })
			require.NoError(b, err)
			require.Equal(b, vmm.Exit{Reason: vmm.Paused}, exit)
			return m
		})
	})
	b.Run("load", func(b *testing.B) {
		measure(b, func() *vmm.Machine {
			s, err := snapshot.Load(dir)
			require.NoError(b, err)
			require.NoError(b, s.Close())
			return nil
		})
	})
}

// measure measures what makes a machine, of which one is there at a time.
func measure(b *testing.B, do func() *vmm.Machine) {
	var total took
	for range b.N {
		before, started := processorTime(b), time.Now()
		m := do()
		total.passed, total.used = total.passed+time.Since(started), total.used+processorTime(b)-before
		if m != nil {
			require.NoError(b, m.Close())
		}
	}
	b.ReportMetric(float64(total.passed.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(float64(total.used.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// processorTime is how long this process has had a processor.
func processorTime(b *testing.B) time.Duration {
	var t syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &t))
	return time.Duration(t.Utime.Nano() + t.Stime.Nano())
}
