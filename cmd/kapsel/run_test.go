package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/qemu"
)

func TestOutcome(t *testing.T) {
	failure := errors.New("ioctl failed")
	for _, test := range []struct {
		name           string
		exit           vmm.Exit
		failure, cause error
		status         int
		err            string
	}{
		{"guest ends well", vmm.Exit{Reason: vmm.GuestExit}, nil, nil, 0, ""},
		{"guest's status", vmm.Exit{Reason: vmm.GuestExit, Status: 101}, nil, nil, 101, ""},
		{"guest's status as one of ours", vmm.Exit{Reason: vmm.GuestExit, Status: 124}, nil, nil, 124, ""},
		{"guest ends as the time does", vmm.Exit{Reason: vmm.GuestExit, Status: 3}, nil, errTimeout, 3, ""},
		{"a capsule off", vmm.Exit{Reason: vmm.GuestExit, Status: abi.ExitCapsule}, nil, nil, 104, "a capsule failed and stayed off: the console says which"},
		{"triple fault", vmm.Exit{Reason: vmm.Shutdown}, nil, nil, 125, "triple fault"},
		{"breakpoint", vmm.Exit{Reason: vmm.Breakpoint, Address: 0x400028e0}, nil, nil, 123, "breakpoint at 0x400028e0"},
		{"hung", vmm.Exit{Reason: vmm.Hung}, nil, nil, 122, "the kernel hangs"},
		{"failure", vmm.Exit{Reason: vmm.Failed}, failure, nil, 125, "ioctl failed"},
		{"timeout", vmm.Exit{Reason: vmm.Cancelled}, nil, fmt.Errorf("%w after 2s", errTimeout), 124, "ended by --timeout after 2s"},
		{"left", vmm.Exit{Reason: vmm.Cancelled}, nil, errLeft, 130, ""},
		{"SIGINT", vmm.Exit{Reason: vmm.Cancelled}, nil, signalError{syscall.SIGINT}, 130, "interrupt"},
		{"SIGTERM", vmm.Exit{Reason: vmm.Cancelled}, nil, signalError{syscall.SIGTERM}, 143, "terminated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, err := outcome(test.exit, test.failure, test.cause)
			assert.Equal(t, test.status, status)
			if test.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.err)
			}
		})
	}
}

func TestAdvised(t *testing.T) {
	failure := errors.New("KVM_EXIT_INTERNAL_ERROR")
	o := &runOptions{memory: 64 << 30}
	for _, test := range []struct {
		name    string
		accel   accelerator
		failure error
		want    string
	}{
		{"a KVM that cannot run the kernel", accelKVM, failure, "KVM_EXIT_INTERNAL_ERROR: see kapsel doctor, or use --accel qemu"},
		{"QEMU without so much memory", accelQEMU, fmt.Errorf("%w (QEMU: no)", qemu.ErrMemory), "--mem 64G: this host cannot give that much memory (QEMU: no)"},
		{"QEMU otherwise", accelQEMU, failure, "KVM_EXIT_INTERNAL_ERROR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := o.advised(test.accel, test.failure)
			assert.EqualError(t, err, test.want)
			assert.ErrorIs(t, err, test.failure)
		})
	}
	assert.NoError(t, o.advised(accelKVM, nil))
}

// TestPeersThatGoEndNothing: SIGPIPE, which a socket raises whose peer has gone, is no signal that ends a machine, and takes no other's place.
func TestPeersThatGoEndNothing(t *testing.T) {
	ctx, leave := context.WithCancelCause(t.Context())
	stop := leaveOnSignals(leave)
	defer stop()
	for range 100 {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGPIPE))
	}
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	<-ctx.Done()
	assert.Equal(t, signalError{syscall.SIGHUP}, context.Cause(ctx))
}

// TestTasksWithoutImage: the first file is an image or a task by what is in it, or else by its name.
func TestTasksWithoutImage(t *testing.T) {
	task, err := tbfbuild.Build(tbfbuild.Spec{Name: "a", Binary: []byte{1}})
	require.NoError(t, err)
	for _, tt := range []struct {
		name, path string
		data       []byte
		want       bool
	}{
		{"an object", "/dev/fd/3", task, true},
		{"a damaged object", "a.tbf", task[1:], true},
		{"an archive, damaged", "a.tab", nil, true},
		{"an image", "a.elf", image.Flat(nil, 0), false},
		{"text", "a.txt", []byte("text"), false},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, isTask(tt.path, tt.data)) })
	}
}

// TestTaskWithoutKernel: the error says which files were wanted.
// What scripts/build makes is told of a missing image, not of a task.
func TestMissingTask(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.tbf")
	o := runOptions{image: missing}
	assert.EqualError(t, o.openFirst(context.Background(), &vmm.Config{}), fmt.Sprintf("%q: no such file or directory", missing))
}

func TestTaskWithoutKernel(t *testing.T) {
	task, err := tbfbuild.Build(tbfbuild.Spec{Name: "a", Binary: []byte{1}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "a")
	require.NoError(t, os.WriteFile(path, task, 0o600))
	cmd, stdout, stderr := kapsel(t, "run", path)
	cmd.Run()
	assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
	assert.Empty(t, stdout.String())
	assertOneLine(t, stderr.String(), "a task and no image: want the kernel that comes with the command, ")
}

// A command whose caller ignores all signals that would end it ends by no other.
func TestAllSignalsIgnored(t *testing.T) {
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}
	signal.Ignore(ends...)
	defer signal.Reset(ends...)
	left := make(chan error, 1)
	defer leaveOnSignals(func(cause error) { left <- cause })()
	seen := make(chan os.Signal, 1)
	signal.Notify(seen, syscall.SIGWINCH)
	defer signal.Stop(seen)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGWINCH))
	<-seen
	select {
	case cause := <-left:
		t.Errorf("the command leaves: %v", cause)
	case <-time.After(100 * time.Millisecond): // what is delivered is there much earlier; one that comes later is not seen
	}
}
