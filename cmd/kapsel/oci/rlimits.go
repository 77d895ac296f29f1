package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kapsel/files"
)

// least are the smallest limits with which the monitor, and QEMU where that runs the guest, say themselves what they lack later on. With less Go's runtime fails, before or behind the monitor's
// first line, with words that are for its authors. Found with the command by prlimit(1), and rounded up: 1.5 GB of addresses with 64 MiB of a guest's, 100 MB of data, 32 KiB of stack.
var least = map[int]uint64{
	unix.RLIMIT_AS:         2 << 30,   // and the guest's memory: Go reserves tables for all addresses, and QEMU 1 GiB for translated code
	unix.RLIMIT_DATA:       128 << 20, // and the guest's memory
	unix.RLIMIT_STACK:      128 << 10,
	unix.RLIMIT_NOFILE:     64,
	unix.RLIMIT_NPROC:      leastThreads,
	unix.RLIMIT_SIGPENDING: 64,
}

// checkLimits refuses limits that the monitor of a guest with that much memory cannot live with. The user is the host's.
func checkLimits(limits []limit, memory uint64, uid int) error {
	for _, l := range limits {
		want, what := least[l.Resource], ""
		switch l.Resource {
		case unix.RLIMIT_AS, unix.RLIMIT_DATA:
			want, what = want+memory, fmt.Sprintf(" for the monitor and %s of guest memory", files.Size(memory))
		case unix.RLIMIT_NPROC:
			if uid == 0 { // whom it does not bind: setrlimit(2), RLIMIT_NPROC
				continue
			}
			threads, err := threadsOf(uid)
			if err != nil {
				return err
			}
			want, what = want+threads, fmt.Sprintf(": user %d has %d threads, and the monitor's count", uid, threads)
		}
		if effective := l.effective(); effective < want {
			return fmt.Errorf("process.rlimits %s %d: want %d or more%s; podman --ulimit and the engine's defaults set it", l.Name, effective, want, what)
		}
	}
	return nil
}

// effective is the limit that the monitor has: Go raises the soft one of open files to the hard one.
func (l limit) effective() uint64 {
	if l.Resource == unix.RLIMIT_NOFILE {
		return l.Max
	}
	return l.Cur
}

// threadsOf counts a user's threads, as far as they can be seen.
func threadsOf(uid int) (uint64, error) {
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	var count uint64
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		owner, threads := statusField(string(text), "Uid:"), statusField(string(text), "Threads:")
		if n, err := strconv.ParseUint(threads, 10, 32); err == nil && owner == strconv.Itoa(uid) {
			count += n
		}
	}
	return count, nil
}

// statusField is the first word of a field of /proc/PID/status (proc(5)), empty if there is none.
func statusField(text, name string) string {
	_, rest, _ := strings.Cut(text, "\n"+name)
	line, _, _ := strings.Cut(rest, "\n")
	word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
	return word
}
