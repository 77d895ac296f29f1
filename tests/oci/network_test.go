package oci

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// giveInterface is a script that puts an interface with an address into the network namespace of a process.
const giveInterface = `ip link add eth0 netns $pid type veth peer name far netns $pid &&
	exec nsenter --target $pid --net sh -c 'ip link set eth0 up && ip link set far up && ip addr add 10.88.0.2/24 dev eth0'`

// giving is a hook that does so for the container, whose state is on its standard input.
func giving(t *testing.T) []specs.Hook {
	t.Helper()
	path, err := exec.LookPath("sh")
	require.NoError(t, err)
	return []specs.Hook{{Path: path, Args: []string{"sh", "-c", `pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/') && ` + giveInterface}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}}
}

// give does so from outside.
func give(t *testing.T, pid int) {
	t.Helper()
	out, err := exec.Command("sh", "-c", "pid="+text(pid)+"; "+giveInterface).CombinedOutput()
	require.NoError(t, err, string(out))
}

// TestInterface: a guest gets the interface that an engine has given to its container by the time it starts, as each engine does that.
func TestInterface(t *testing.T) {
	for _, name := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v: install iproute2 and util-linux", err)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, s *specs.Spec)
		behind bool // create: from outside
		given  bool
	}{
		{"in a namespace that is there (CNI)", func(t *testing.T, s *specs.Spec) {
			pid := sleep(t, syscall.CLONE_NEWNET)
			give(t, pid)
			s.Linux.Namespaces[1].Path = "/proc/" + text(pid) + "/ns/net"
		}, false, true},
		//lint:ignore SA1019 Docker has its hooks there
		{"by a hook prestart (Docker)", func(t *testing.T, s *specs.Spec) { s.Hooks = &specs.Hooks{Prestart: giving(t)} }, false, true},
		{"by a hook createRuntime", func(t *testing.T, s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: giving(t)} }, false, true},
		{"between create and start", func(*testing.T, *specs.Spec) {}, true, true},
		{"between create and start, with a user namespace (podman)", func(_ *testing.T, s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 10}}
			s.Linux.GIDMappings = s.Linux.UIDMappings
		}, true, true},
		{"none", func(*testing.T, *specs.Spec) {}, false, false},
		{"one that no word wants", func(_ *testing.T, s *specs.Spec) { s.Annotations["org.kapsel.net"] = "none" }, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			c := r.create(r.sleeper().with(func(s *specs.Spec) { tt.change(t, s) }))
			if tt.behind {
				give(t, c.pid)
			}
			res := c.succeeds("start", c.id)
			assert.Empty(t, res.log)
			c.prints(asleep)
			if tt.given {
				assert.Contains(t, command(c.pid), " --net=link=eth0 ")
			} else {
				assert.NotContains(t, command(c.pid), "--net")
			}
			c.stop()
		})
	}
}

// TestInterfaceThatNoGuestCanHave: the log says why a guest has no network.
func TestInterfaceThatNoGuestCanHave(t *testing.T) {
	r := start(t)
	c := r.create(r.sleeper())
	out, err := exec.Command("nsenter", "--target", text(c.pid), "--net", "sh", "-c", "ip link add eth0 type veth peer name far && ip link set eth0 up").CombinedOutput()
	require.NoError(t, err, string(out))
	res := c.succeeds("start", c.id)
	assert.Contains(t, res.log, `the guest has no network: interface \"eth0\" has no IPv4 address`)
	c.prints(asleep)
	c.stop()
}
