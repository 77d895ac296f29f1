package bundle

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/ethernet/link/linktest"
)

// limited is a change to a memory limit.
func limited(bytes int64) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux = &specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &bytes}}}
	}
}

func memory(text string) func(*specs.Spec) { return annotated("org.kapsel.memory", text) }

// TestMemory: what is asked for, else what the limit leaves beside the monitor, else the default.
func TestMemory(t *testing.T) {
	files := map[string][]byte{"kapsel.elf": kernelImage()}
	for _, tt := range []struct {
		name    string
		changes []func(*specs.Spec)
		want    uint64
	}{
		{"nothing said", nil, vmm.DefaultMemory},
		{"asked for", []func(*specs.Spec){memory("16M")}, 16 << 20},
		{"asked for in bytes", []func(*specs.Spec){memory("4096")}, 4096},
		{"no limit, by -1", []func(*specs.Spec){limited(-1)}, vmm.DefaultMemory},
		{"no limit, by 0", []func(*specs.Spec){limited(0)}, vmm.DefaultMemory},
		{"the least limit", []func(*specs.Spec){limited(leastLimit)}, leastMemory},
		{"a limit of 64 MiB", []func(*specs.Spec){limited(64 << 20)}, 16128 << 10},
		{"a limit of 1 GiB", []func(*specs.Spec){limited(1 << 30)}, 984048 << 10},
		{"a limit beyond what a machine can have", []func(*specs.Spec){limited(1 << 62)}, vmm.MaxMemory},
		{"asked for within a limit", []func(*specs.Spec){limited(128 << 20), memory("32M")}, 32 << 20},
		{"all that a limit leaves", []func(*specs.Spec){limited(64 << 20), memory("16128K")}, 16128 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := command(t, made(t, spec(tt.changes...), files))
			assert.Equal(t, tt.want, c.Memory)
			assert.Contains(t, c.Args, "--mem="+strconv.FormatUint(tt.want, 10))
		})
	}
}

func TestMemoryRefuses(t *testing.T) {
	files := map[string][]byte{"kapsel.elf": kernelImage()}
	for _, tt := range []struct {
		name    string
		changes []func(*specs.Spec)
		want    string
	}{
		{"a limit too small", []func(*specs.Spec){limited(leastLimit - 1)}, "a memory limit of 58851327 bytes: want 58851328 or more, of which the monitor needs 48M and a guest 8M"},
		{"more than the limit leaves", []func(*specs.Spec){limited(64 << 20), memory("64M")},
			"org.kapsel.memory 64M: a memory limit of 67108864 bytes leaves a guest 16128K beside the monitor: want at most that, or a larger limit"},
		{"no size", []func(*specs.Spec){memory("much")}, `org.kapsel.memory "much": want a size as 64M: bytes, or a number with K, M or G`},
		{"a size too large for a number", []func(*specs.Spec){memory("18446744073709551615G")}, "want a size as 64M"},
		{"no whole pages", []func(*specs.Spec){memory("4097")}, "org.kapsel.memory of 4097 bytes: want a multiple of 4096 above 0, and at most 1024G"},
		{"none", []func(*specs.Spec){memory("0")}, "org.kapsel.memory of 0 bytes: want a multiple of 4096 above 0"},
		{"more than a machine can have", []func(*specs.Spec){memory("1025G")}, "want a multiple of 4096 above 0, and at most 1024G"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := made(t, spec(tt.changes...), files).Command(commandDir(t))
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// TestGuestMemoryFits: with the monitor and the tables that the host has for it, a guest is never larger than the limit, and not much smaller.
func TestGuestMemoryFits(t *testing.T) {
	for limit := uint64(leastLimit); limit < 1<<44; limit += limit/7 + 4093 {
		guest := guestMemory(limit)
		require.Zero(t, guest%abi.PageSize)
		require.GreaterOrEqual(t, guest, uint64(leastMemory))
		require.LessOrEqual(t, guest+guest/tablesPart+monitorMemory, limit)
		if guest != vmm.MaxMemory {
			require.Greater(t, guest+guest/tablesPart+monitorMemory+3*abi.PageSize, limit)
		}
	}
}

// TestMounts: files and block devices are disks, in order; what engines mount in every container is passed over, and other mounts that can be no disk are told.
func TestMounts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two", "hosts", "log"} {
		write(t, filepath.Join(dir, name), make([]byte, 4096))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "secrets"), 0o755))
	bind := func(destination, source string, options ...string) specs.Mount {
		return specs.Mount{Destination: destination, Source: filepath.Join(dir, source), Type: "bind", Options: append(options, "rbind")}
	}
	b := made(t, spec(func(s *specs.Spec) {
		s.Mounts = []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
			bind("/etc/hosts", "hosts"), bind("/disk", "one", "rprivate", "rw"), bind("/dev/termination-log", "log"), bind("/run/.containerenv", "hosts"),
			bind("/var/run/secrets/kubernetes.io/serviceaccount", "secrets", "ro"), bind("/run/secrets", "secrets"), bind("/dev/shm", "secrets"), bind("/sys/fs/cgroup", "secrets"),
			{Destination: "/data", Source: filepath.Join(dir, "two"), Options: []string{"bind", "rw", "ro"}},
			{Destination: "/relative", Source: "rootfs/kapsel.elf", Type: "none", Options: []string{"rbind", "ro"}},
		}
	}), map[string][]byte{"kapsel.elf": kernelImage()})
	c := command(t, b)
	assert.Equal(t, "--disk=/dev/fd/3 --disk=/dev/fd/4,ro --disk=/dev/fd/5,ro /dev/fd/6", plain(c))
	for i, name := range []string{"one", "two"} {
		info, err := c.Files[i].Stat()
		require.NoError(t, err)
		want, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.True(t, os.SameFile(want, info), name)
	}
	assert.Equal(t, []string{`passed over, for a guest has no file system: mounts ["/tmp"]`}, c.Notes)
}

func TestMountsRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), nil)
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	files := map[string][]byte{"kapsel.elf": kernelImage()}
	for _, tt := range []struct{ name, source, want string }{
		{"a directory", dir, `mount "/data": "` + dir + `" is a directory, and a guest has no file system: want a file, which becomes a disk, as kapsel disk format makes one, or a block device`},
		{"a pipe", filepath.Join(dir, "pipe"), "want a file or a block device, found a file of another kind (p"},
		{"a character device", "/dev/null", "want a file or a block device, found a file of another kind (Dc"},
		{"nothing", filepath.Join(dir, "none"), "no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := made(t, spec(func(s *specs.Spec) {
				s.Mounts = []specs.Mount{{Destination: "/data", Source: tt.source, Options: []string{"bind"}}}
			}), files).Command(commandDir(t))
			assert.ErrorContains(t, err, tt.want)
		})
	}
	_, err := made(t, spec(func(s *specs.Spec) {
		s.Mounts = slices.Repeat([]specs.Mount{{Destination: "/d", Source: filepath.Join(dir, "file"), Options: []string{"bind", "ro"}}}, 9)
	}), files).Command(commandDir(t))
	assert.ErrorContains(t, err, `mount "/d": want at most 8 mounts of files`)
}

// TestFilesCloseOnError: a command that is refused leaves no file open.
func TestFilesCloseOnError(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), nil)
	b := made(t, spec(annotated("org.kapsel.tasks", "/missing"), func(s *specs.Spec) {
		s.Mounts = []specs.Mount{{Destination: "/d", Source: filepath.Join(dir, "file"), Options: []string{"bind"}}}
	}), nil)
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(fds)
	}
	before := count()
	for range 10 {
		_, err := b.Command(commandDir(t))
		require.Error(t, err)
	}
	assert.Less(t, count(), before+10)
}

// networks is a change to a network namespace; empty for a new one.
func networks(path string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux = &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace, Path: path}}}
	}
}

// TestNetworkWords: what words of an image can ask for is the container's, not the host's.
func TestNetworkWords(t *testing.T) {
	none := func(*specs.Spec) {}
	there := filepath.Join(t.TempDir(), "net")
	write(t, there, nil) // any file that is not the host's namespace
	hosts := networks("/proc/thread-self/ns/net")
	for _, tt := range []struct {
		name, words string
		namespace   func(*specs.Spec)
		want        string // with a blank, of the error
		take        bool
	}{
		{"none", "none", networks(""), "", false},
		{"not said, with a namespace that is new", "", networks(""), "", true},
		{"not said, with a namespace that is there", "", networks(there), "", true},
		{"not said, with the host's network", "", none, "", false},
		{"not said, with the host's network by its name", "", hosts, "", false},
		{"user mode", "user,allow=*:*,forward=tcp:8080:80", none, "--net=user,allow=*:*,forward=tcp:8080:80", false},
		{"an interface", "link=eth0", networks(""), "--net=link=eth0", false},
		{"a TAP interface", "tap=tap0,mac=52:54:00:12:34:56", networks(""), "--net=tap=tap0,mac=52:54:00:12:34:56", false},
		{"an interface of the host", "link=eth0", none, `org.kapsel.net "link=eth0": the container shares the network of the host, whose interfaces are not its own: want user, a container with a network, or none`, false},
		{"an interface of the host, by its namespace", "tap=tap0", hosts, "the container shares the network of the host", false},
		{"a socket of the host", "unix=/run/docker.sock", networks(""), "that is a socket of the host: want user, link= or tap=, or none", false},
		{"a file of the host", "user,pcap=/etc/shadow", networks(""), "pcap= would write to a file of the host: want it away, or none", false},
		{"no words", "bridge", none, `org.kapsel.net "bridge": want user, tap=NAME, unix=PATH or link=NAME first, found "bridge", or none`, false},
		{"two networks", "user --disk=/etc/shadow", none, `first, found "user --disk=/etc/shadow"`, false},
		{"a namespace that is not there", "user", networks("/missing"), `the network namespace: "/missing": no such file or directory`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := made(t, spec(tt.namespace, annotated("org.kapsel.net", tt.words)), map[string][]byte{"kapsel.elf": kernelImage()}).Command(commandDir(t))
			if strings.Contains(tt.want, " ") {
				assert.ErrorContains(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			defer c.Close()
			assert.Equal(t, strings.TrimSpace(tt.want+" /dev/fd/3"), plain(c))
			assert.Equal(t, tt.take, c.TakeInterface)
		})
	}
}

// TestInterface: the argument for what an engine has put into the network namespace.
func TestInterface(t *testing.T) {
	empty := linktest.New(t)
	empty.IP(t, "link", "add", "eth7", "type", "veth", "peer", "name", "far")
	container, _ := linktest.Pair(t)
	for _, tt := range []struct {
		name      string
		namespace *linktest.Namespace
		before    string // of ip
		arg       string
		notes     []string
	}{
		{"one that is down is nobody's", empty, "", "", nil},
		{"one without an address", empty, "link set eth7 up", "",
			[]string{`the guest has no network: interface "eth7" has no IPv4 address, which the guest would get: ip addr add ADDRESS/BITS dev eth7, or org.kapsel.net user, which needs no interface`}},
		{"one that a guest can have", empty, "addr add 10.99.0.2/16 dev eth7", "--net=link=eth7", nil},
		{"that of an engine", container, "", "--net=link=" + linktest.Guest, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != "" {
				tt.namespace.IP(t, strings.Fields(tt.before)...)
			}
			tt.namespace.Do(func() {
				arg, notes, err := Interface()
				require.NoError(t, err)
				assert.Equal(t, tt.arg, arg)
				assert.Equal(t, tt.notes, notes)
			})
		})
	}
}
