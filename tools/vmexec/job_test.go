package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNewJob(t *testing.T) {
	o := &options{program: "/p/x.test", out: "/o", args: []string{"-test.v=true", "-test.gocoverdir=/cov"}}
	env := []string{"GOMAXPROCS=2", "KAPSEL_BUILD=/b", "VMEXEC_X=1", "GOCOVERDIR=cov2", "SECRET=x", "PATH=/bin", "HOME=/root"}

	j := newJob(o, "/src/pkg", env)

	assert.Equal(t, &job{
		Dir: "/src/pkg", Program: "/p/x.test", Args: o.args,
		Env: []string{"GOMAXPROCS=2", "KAPSEL_BUILD=/b", "VMEXEC_X=1", "GOCOVERDIR=cov2",
			"HOME=/", "PATH=/", "TMPDIR=/tmp", "PWD=/src/pkg", "KAPSEL_RIG=1"},
		Back: []string{"/cov", "/o", "/src/pkg/cov2"},
	}, j)
}

func TestResultPaths(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"none", []string{"-test.v=true", "-test.run=X"}, nil},
		{"absolute profile", []string{"-test.cpuprofile=/a/cpu.out"}, []string{"/a/cpu.out"}},
		{"relative to the working directory", []string{"-test.trace=t.out"}, []string{"/src/t.out"}},
		{"relative to the output directory", []string{"-test.memprofile=m.out", "-test.outputdir=/out"}, []string{"/out/m.out"}},
		{"relative output directory", []string{"-test.outputdir=sub", "-test.memprofile=m.out"}, []string{"/src/sub/m.out"}},
		{"a program's own flag", []string{"-trace=t.out", "trace=t.out"}, nil},
		{"empty", []string{"-test.trace="}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, resultPaths(test.args, "/src"))
		})
	}
}
