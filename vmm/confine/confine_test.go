package confine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/vmm/snapshot"
)

// A confined process cannot be a test's own: each test runs this program again, as the child of a name.
const childVariable = "KAPSEL_CONFINE_CHILD"

// children are what such a process does. What it prints is looked at.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childVariable)]; child != nil {
		child()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// run runs a child to its end, and returns what it printed.
func run(t *testing.T, name string, environment ...string) (string, error) {
	if Landlock() == 0 || !Seccomp() {
		t.Skip("this host has no landlock, or no seccomp")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(append(os.Environ(), childVariable+"="+name), environment...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	require.NoError(t, context.Cause(ctx), "%s", out.String())
	return out.String(), err
}

// confine confines the child, or ends it.
func confine(o Options) {
	if err := Process(o); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// tell prints how a call ended.
func tell(name string, err error) {
	word := "done"
	if errno := unix.Errno(0); errors.As(err, &errno) {
		word = unix.ErrnoName(errno)
	} else if err != nil {
		word = err.Error()
	}
	fmt.Printf("%s: %s\n", name, word)
}

// system makes a system call as it is.
func system(number uintptr, a ...uintptr) error {
	a = append(a, make([]uintptr, 6)...)
	if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

// forbidden are calls that a process that got out of hand would make.
func forbidden() {
	file, err := os.Open("/etc/passwd")
	tell("open", err)
	if err == nil {
		file.Close()
	}
	tell("create", os.WriteFile(filepath.Join(os.Getenv("WRITEABLE"), "new"), nil, 0o600))
	tell("remove", os.Remove(filepath.Join(os.Getenv("WRITEABLE"), "old")))
	_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	tell("unix socket", err)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	tell("internet socket", err)
	tell("connect", unix.Connect(0, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{127, 0, 0, 1}}))
	tell("exec", unix.Exec("/bin/true", []string{"true"}, nil))
	tell("fork", system(unix.SYS_CLONE, uintptr(unix.SIGCHLD)))
	tell("clone3", system(unix.SYS_CLONE3))
	tell("vfork", system(unix.SYS_VFORK))
	tell("ptrace", system(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid())))
	tell("kill", unix.Kill(os.Getppid(), 0))
	tell("thread of another", unix.Tgkill(os.Getppid(), os.Getppid(), 0))
	_, err = unix.FcntlInt(0, unix.F_SETOWN, os.Getppid())
	tell("signals of a file to another", err)
	_, err = unix.FcntlInt(0, unix.F_SETSIG, int(unix.SIGKILL))
	tell("which signal", err)
	tell("unknown ioctl", system(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0))
	tell("ioctl with more bits", system(unix.SYS_IOCTL, 0, 1<<32|0xae80, 0))
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	tell("memory", err)
	tell("executable memory", unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC))
	_, err = unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	tell("executable mapping", err)
	tell("limit", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 10, Max: 10}))
	tell("mount", unix.Mount("none", "/", "tmpfs", 0, ""))
	tell("namespace", unix.Unshare(unix.CLONE_NEWUSER))
	tell("bpf", system(unix.SYS_BPF))
	tell("io_uring", system(unix.SYS_IO_URING_SETUP, 8))
	tell("x32", system(0x4000_0000|unix.SYS_GETPID))
	tell("process memory", system(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid())))
	tell("flush", unix.Fdatasync(1))
	tell("memfd", func() error { _, err := unix.MemfdCreate("m", 0); return err }())
	tell("unknown call", system(999))
}

func init() {
	children["forbidden"] = func() {
		confine(Options{})
		forbidden()
		done := make(chan bool)
		go func() { // and on a thread that was there before, or comes later
			runtime.LockOSThread()
			_, err := os.Open("/etc/passwd")
			tell("open on another thread", err)
			close(done)
		}()
		<-done
	}
}

// TestForbidden: what a monitor does not need fails, with the errno that the package says, on all threads.
func TestForbidden(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "old"), nil, 0o600))
	out, err := run(t, "forbidden", "WRITEABLE="+dir)
	require.NoError(t, err, out)
	allowed := map[string]string{"memory": "done", "clone3": "ENOSYS", "x32": "ENOSYS"}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Len(t, lines, 31, out)
	for _, line := range lines {
		name, found, _ := strings.Cut(line, ": ")
		want := allowed[name]
		if want == "" {
			want = "EPERM"
		}
		assert.Equal(t, want, found, name)
	}
	assert.FileExists(t, filepath.Join(dir, "old"))
}

// TestForbiddenFailsWithoutConfinement: what TestForbidden sees is the confinement's doing.
func TestForbiddenFailsWithoutConfinement(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Open("/etc/passwd")
	require.NoError(t, err)
	file.Close()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600))
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	unix.Close(s)
	require.NoError(t, exec.Command("/bin/true").Run())
}

// features are what each option keeps, as seen by a child that has that option alone.
var features = []struct {
	name    string
	options func() Options
	try     func()
	want    string
}{
	{"files", func() Options { return Options{Files: true} }, func() {
		tell("flush", unix.Fdatasync(int(opened.Fd())))
		tell("truncate", opened.Truncate(5))
		tell("hole", unix.Fallocate(int(opened.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4))
		_, err := os.Open("/etc/passwd")
		tell("open", err)
	}, "flush: done\ntruncate: done\nhole: done\nopen: EPERM\n"},
	{"sockets", func() Options { return Options{Sockets: true, Remove: []string{socketPath()}} }, func() {
		conn, err := listener.Accept()
		tell("accept", err)
		_, err = conn.Write([]byte("hello"))
		tell("write", err)
		tell("close", errors.Join(conn.Close(), listener.Close()))
		_, err = os.Open(socketPath())
		tell("open", err)
		_, err = net.Dial("unix", socketPath())
		tell("dial", err)
		tell("remove elsewhere", os.Remove(filepath.Join(os.Getenv("WRITEABLE"), "elsewhere", "old")))
	}, "accept: done\nwrite: done\nclose: done\nopen: EPERM\ndial: EPERM\nremove elsewhere: EACCES\n"},
	{"packets", func() Options { return Options{Packets: true} }, func() {
		_, err := unix.Write(pair[0], []byte("frame"))
		tell("write", err)
		_, _, _, _, err = unix.Recvmsg(pair[1], make([]byte, 10), make([]byte, 64), 0)
		tell("read", err)
		tell("send", unix.Sendmsg(pair[0], []byte("frame"), nil, nil, 0))
		tell("option", unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
		_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		tell("another", err)
	}, "write: done\nread: done\nsend: EPERM\noption: EPERM\nanother: EPERM\n"},
	{"network", func() Options { return Options{Network: true} }, func() {
		conn, err := net.Dial("tcp", os.Getenv("SERVER"))
		tell("dial", err)
		if err == nil {
			conn.Close()
		}
		_, err = net.InterfaceAddrs()
		tell("addresses", err)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err = net.DefaultResolver.LookupNetIP(ctx, "ip4", "localhost")
		tell("name", err)
		_, err = os.ReadFile("/etc/hosts")
		tell("hosts", err)
		_, err = os.Open("/etc/passwd")
		tell("open", err)
		_, err = net.Dial("unix", socketPath())
		tell("unix", err)
		tell("create", os.WriteFile(filepath.Join(os.Getenv("WRITEABLE"), "new"), nil, 0o600))
	}, "dial: done\naddresses: done\nname: done\nhosts: done\nopen: EACCES\nunix: EPERM\ncreate: EACCES\n"},
	{"read", func() Options { return Options{Read: []string{opened.Name()}} }, func() {
		file, err := os.Open(opened.Name())
		tell("open", err)
		tell("lock", unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB))
		tell("file system", unix.Fstatfs(int(file.Fd()), new(unix.Statfs_t)))
		_, err = os.OpenFile(opened.Name(), os.O_RDWR, 0)
		tell("open to write", err)
		_, err = os.Open("/etc/passwd")
		tell("another", err)
	}, "open: done\nlock: done\nfile system: done\nopen to write: EACCES\nanother: EACCES\n"},
	{"write", func() Options {
		return Options{Write: []string{writtenPath()}, Rename: []string{filepath.Dir(writtenPath())}}
	}, func() {
		file := filepath.Join(writtenPath(), "a", "b")
		tell("directory", os.MkdirAll(filepath.Dir(file), 0o700))
		tell("file", os.WriteFile(file, []byte("hello"), 0o600))
		tell("rename file", os.Rename(file, file+"c"))
		tell("rename", os.Rename(writtenPath(), writtenPath()+" aside"))
		_, err := os.ReadFile(filepath.Join(writtenPath()+" aside", "a", "bc"))
		tell("read", err)
		tell("remove", errors.Join(os.RemoveAll(filepath.Join(writtenPath()+" aside", "a")), os.Remove(writtenPath()+" aside")))
		tell("file beside", os.WriteFile(filepath.Join(os.Getenv("WRITEABLE"), "new"), nil, 0o600))
		tell("remove beside", os.Remove(opened.Name()))
		_, err = os.Open(opened.Name())
		tell("read beside", err)
		tell("rename beside", os.Rename(opened.Name(), opened.Name()+"er"))
		tell("link", os.Symlink("/etc", filepath.Join(os.Getenv("WRITEABLE"), "link")))
		tell("pipe", unix.Mkfifo(filepath.Join(os.Getenv("WRITEABLE"), "pipe"), 0o600))
	}, "directory: done\nfile: done\nrename file: done\nrename: done\nread: done\nremove: done\n" +
		"file beside: EACCES\nremove beside: EACCES\nread beside: EACCES\nrename beside: EACCES\nlink: EPERM\npipe: EPERM\n"},
	{"snapshot", func() Options {
		return Options{Snapshots: true, Write: place.Written(), Rename: []string{place.Above()}}
	}, func() {
		memory, err := snapshot.NewMemory(4096, func(io.WriterAt) error { return nil })
		tell("memory", err)
		s := &snapshot.Snapshot{State: snapshot.State{Guest: snapshot.Guest{Memory: 4096}}, Memory: memory}
		tell("save", place.Save(s))
		tell("close", place.Close())
	}, "memory: done\nsave: done\nclose: done\n"},
	{"child", func() Options { return Options{Child: child.Process.Pid} }, func() {
		tell("kill", unix.Kill(-child.Process.Pid, unix.SIGKILL))
		err := child.Wait()
		fmt.Println("wait:", err)
		tell("signal to another", unix.Kill(-os.Getppid(), unix.SIGKILL))
		tell("another signal", unix.Kill(-child.Process.Pid, unix.SIGTERM))
		tell("exec", exec.Command("/bin/true").Run())
	}, "kill: done\nwait: signal: killed\nsignal to another: EPERM\nanother signal: EPERM\nexec: EPERM\n"},
}

// What a child of TestFeatures has open, or has started, before it is confined.
var (
	opened   *os.File
	pair     [2]int // of sockets
	listener net.Listener
	child    *exec.Cmd
	place    *snapshot.Place
)

func socketPath() string { return filepath.Join(os.Getenv("WRITEABLE"), "sockets", "s") }

func writtenPath() string { return filepath.Join(os.Getenv("WRITEABLE"), "written") }

// prepare opens what the children use.
func prepare() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	opened, err = os.OpenFile(filepath.Join(os.Getenv("WRITEABLE"), "old"), os.O_RDWR, 0)
	must(err)
	pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	older, err := snapshot.NewMemory(4096, func(io.WriterAt) error { return nil })
	must(err)
	dir := filepath.Join(os.Getenv("WRITEABLE"), "snapshot") // is replaced
	must((&snapshot.Snapshot{State: snapshot.State{Guest: snapshot.Guest{Memory: 4096, TSCKHz: 1}}, Memory: older}).Save(dir))
	place, err = snapshot.Prepare(dir)
	must(err)
	listener, err = net.Listen("unix", socketPath())
	must(err)
	go func() { // who connects was there before
		conn, err := net.Dial("unix", socketPath())
		must(err)
		conn.Read(make([]byte, 5))
		conn.Close()
	}()
	child = exec.Command("/bin/sleep", "100")
	child.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread()
	must(child.Start())
}

func init() {
	for _, f := range features {
		children[f.name] = func() {
			prepare()
			confine(f.options())
			f.try()
			if f.name != "child" {
				os.Exit(0) // with which the child ends
			}
		}
	}
}

// assertReplaced checks that a snapshot is the one that was saved last, which says nothing of the counter's frequency.
func assertReplaced(t *testing.T, dir string) {
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	require.NoError(t, err)
	var all []byte
	for _, name := range blobs {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		all = append(all, data...)
	}
	assert.Contains(t, string(all), `"tscKHz": 0`)
	assert.NotContains(t, string(all), `"tscKHz": 1`)
}

// TestFeatures: an option keeps what it says, and no more.
func TestFeatures(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	for _, f := range features {
		t.Run(f.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range []string{"sockets", "elsewhere", "written"} {
				require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o700))
			}
			for _, f := range []string{"old", "elsewhere/old"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte("0123456789"), 0o600))
			}
			out, err := run(t, f.name, "WRITEABLE="+dir, "SERVER="+server.Addr().String())
			require.NoError(t, err, out)
			assert.Equal(t, f.want, out)
			if f.name == "snapshot" {
				assertReplaced(t, filepath.Join(dir, "snapshot"))
				aside, err := filepath.Glob(filepath.Join(dir, ".kapsel-snapshot-*"))
				require.NoError(t, err)
				assert.Empty(t, aside)
			}
			if f.name == "sockets" {
				assert.NoFileExists(t, filepath.Join(dir, "sockets", "s"))
			}
		})
	}
}

func init() {
	children["runtime"] = func() {
		confine(Options{})
		debug.SetGCPercent(5)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				runtime.LockOSThread()
				var kept [][]byte
				for i := range 20 {
					kept = append(kept, make([]byte, 50_000))
					kept[i][0] = byte(i)
					<-time.After(time.Millisecond)
				}
				runtime.GC()
				runtime.KeepAlive(kept)
				reader, writer, err := os.Pipe()
				if err != nil {
					panic(err)
				}
				go writer.Write([]byte("x"))
				reader.Read(make([]byte, 1))
				reader.Close()
				writer.Close()
			})
		}
		all.Wait()
		debug.FreeOSMemory()
		fmt.Println("fine")
	}
	children["panic"] = func() {
		confine(Options{})
		var none []int
		fmt.Println(none[len(os.Args)])
	}
	children["fault"] = func() {
		confine(Options{})
		var nowhere *int
		*nowhere = len(os.Args)
	}
}

// TestRuntime: a confined Go program goes on with many threads, collections, timers and pipes.
func TestRuntime(t *testing.T) {
	out, err := run(t, "runtime")
	require.NoError(t, err, out)
	assert.Equal(t, "fine\n", out)
}

// TestPanicsPrint: a confined program that panics says why and where, and ends with status 2.
func TestPanicsPrint(t *testing.T) {
	for name, want := range map[string]string{"panic": "index out of range [1] with length 0", "fault": "invalid memory address"} {
		out, err := run(t, name)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 2, exit.ExitCode())
		assert.Contains(t, out, want)
		assert.Contains(t, out, "confine_test.go:")
	}
}

func init() {
	children["state"] = func() {
		confine(Options{Network: true, Log: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }})
	}
	children["status"] = func() {
		tasks, err := os.Open("/proc/self/task")
		if err != nil {
			panic(err)
		}
		for range 10 { // threads that are there
			go func() { runtime.LockOSThread(); select {} }()
		}
		runtime.Gosched()
		names, _ := tasks.Readdirnames(-1)
		var files []*os.File
		for _, name := range names {
			f, err := os.Open("/proc/self/task/" + name + "/status")
			if err != nil {
				panic(err)
			}
			files = append(files, f)
		}
		limits, err := os.Open("/proc/self/limits")
		if err != nil {
			panic(err)
		}
		confine(Options{})
		text := make([]byte, 1<<14)
		for _, f := range append(files, limits) {
			n, _ := f.Read(text)
			for line := range strings.Lines(string(text[:n])) {
				for _, want := range []string{"NoNewPrivs:", "Seccomp:", "Speculation_Store_Bypass:", "CapEff:", "CapPrm:", "CapInh:", "Max core", "Max open"} {
					if strings.HasPrefix(line, want) {
						fmt.Println(strings.Join(strings.Fields(line), " "))
					}
				}
			}
		}
	}
}

// TestAllThreads: by what Linux says of them, all threads have no new privileges and a filter, and the limits are lower.
func TestAllThreads(t *testing.T) {
	out, err := run(t, "status")
	require.NoError(t, err, out)
	threads := strings.Count(out, "NoNewPrivs:")
	assert.Greater(t, threads, 3, out)
	assert.Equal(t, threads, strings.Count(out, "NoNewPrivs: 1\n"), out)
	assert.Equal(t, threads, strings.Count(out, "Seccomp: 2\n"), out)
	capabilities := regexp.MustCompile(`Cap\w+: \w+(\w{4})\n`).FindAllStringSubmatch(out, -1)
	assert.Len(t, capabilities, 3*threads)
	for _, c := range capabilities { // the first 16
		assert.Contains(t, "048c", c[1][:1], "CAP_NET_ADMIN and CAP_NET_RAW are 12 and 13: %s", out)
	}
	assert.Contains(t, out, "Max core file size 0 0 bytes")
	assert.Contains(t, out, "Max open files 4096 4096 files")
	assert.NotContains(t, out, "Speculation_Store_Bypass: thread vulnerable")
}

// TestLog: what was done is said, a line each.
func TestLog(t *testing.T) {
	out, err := run(t, "state")
	require.NoError(t, err, out)
	for _, want := range []string{"speculative store bypass: ", "indirect branch speculation: ", "core scheduling: ", "landlock: ABI ", "seccomp: "} {
		assert.Contains(t, "\n"+out, "\n"+want)
	}
}

// TestMissing: what a host lacks is a warning, or an error that says so.
func TestMissing(t *testing.T) {
	var lines []string
	warned := Options{Warn: func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }}
	for _, test := range []struct {
		landlock int
		seccomp  bool
		want     []string
	}{
		{7, true, nil},
		{0, true, []string{"landlock"}},
		{1, false, []string{"seccomp"}},
		{0, false, []string{"landlock", "seccomp"}},
	} {
		lines = nil
		require.NoError(t, warned.missing(test.landlock, test.seccomp))
		err := new(Options).missing(test.landlock, test.seccomp)
		require.Equal(t, len(test.want) > 0, err != nil)
		require.Len(t, lines, len(test.want))
		for i, what := range test.want {
			assert.Equal(t, what+": this host's kernel cannot confine the process by it; a newer one can, or one with another configuration", lines[i])
			assert.ErrorContains(t, err, lines[i])
		}
	}
}

// TestAdd: of two sets of options each need is kept.
func TestAdd(t *testing.T) {
	all := Options{Terminal: true, Files: true, Sockets: true, Packets: true, Network: true, Snapshots: true, Machines: true, Remove: []string{"a"},
		Read: []string{"r"}, Write: []string{"w"}, Rename: []string{"n"}, Child: 7}
	var o Options
	o.Add(all)
	assert.Equal(t, all, o)
	o.Add(Options{Remove: []string{"b"}})
	all.Remove = []string{"a", "b"}
	assert.Equal(t, all, o)
}
