package main

import (
	"path/filepath"
	"slices"
	"strings"
)

// jobFile is where init finds its job in the machine.
const jobFile = "/vmexec.json"

// The serial lines between the machine and vmexec; ttyS0 is the Linux console.
const (
	ttyOutput = "/dev/ttyS1" // standard output and error of the program
	ttyReport = "/dev/ttyS2" // the report, JSON
	ttyFiles  = "/dev/ttyS3" // files that come back, a cpio archive
)

// A job is what init shall do: its input, as JSON in jobFile.
type job struct {
	Dir     string // working directory
	Program string
	Args    []string
	Env     []string
	Back    []string // files and folders that go back to the host
}

// A report says how the program ended.
type report struct {
	Status int    // exit status, 128+n for signal n, statusFailed if it did not run
	Error  string // in words; empty if the program ran and ended by itself
	Files  int    // bytes sent through ttyFiles
}

// newJob makes the job for o in the working directory dir with the host's environment env.
func newJob(o *options, dir string, env []string) *job {
	j := &job{Dir: dir, Program: o.program, Args: o.args}
	j.Back = resultPaths(o.args, dir)
	for _, v := range env {
		if wanted(v) {
			j.Env = append(j.Env, v)
		}
		if d, ok := strings.CutPrefix(v, "GOCOVERDIR="); ok && d != "" {
			j.Back = append(j.Back, absolute(dir, d))
		}
	}
	j.Env = append(j.Env, "HOME=/", "PATH=/", "TMPDIR=/tmp", "PWD="+dir, "KAPSEL_RIG=1")
	if o.out != "" {
		j.Back = append(j.Back, o.out)
	}
	slices.Sort(j.Back)
	j.Back = slices.Compact(j.Back)
	return j
}

// wanted says whether the variable, NAME=VALUE, is passed on.
func wanted(variable string) bool {
	for _, prefix := range []string{"GO", "KAPSEL_", "VMEXEC_"} {
		if strings.HasPrefix(variable, prefix) {
			return true
		}
	}
	return false
}

// resultFlags are the flags of a Go test binary that name a file or folder it writes.
var resultFlags = []string{"gocoverdir", "coverprofile", "cpuprofile", "memprofile",
	"blockprofile", "mutexprofile", "trace"}

// resultPaths lists what the arguments of a Go test binary ask it to write, as absolute
// paths. Profiles with relative names belong into -test.outputdir, else into dir.
func resultPaths(args []string, dir string) []string {
	outputDir := dir
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "-test.outputdir="); ok {
			outputDir = absolute(dir, v)
		}
	}
	var paths []string
	for _, a := range args {
		name, value, ok := strings.Cut(strings.TrimPrefix(a, "-test."), "=")
		if ok && value != "" && strings.HasPrefix(a, "-test.") && slices.Contains(resultFlags, name) {
			paths = append(paths, absolute(outputDir, value))
		}
	}
	return paths
}

// absolute is path seen from dir.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
