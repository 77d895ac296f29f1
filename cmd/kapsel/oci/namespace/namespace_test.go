package namespace

import (
	"os/exec"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	mapped := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}, {ContainerID: 20, HostID: 5, Size: 1}}
	for _, tt := range []struct {
		name string
		l    specs.Linux
		want string // in the error; empty: none
	}{
		{"new ones", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "pid"}, {Type: "network"}, {Type: "time"}}}, ""},
		{"one that exists", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "network", Path: "/run/netns/a"}}}, ""},
		{"an unknown type", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "net"}}}, `linux.namespaces[0].type "net": want pid, network,`},
		{"a type twice", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "pid"}, {Type: "pid"}}}, "twice"},
		{"a relative path", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "pid", Path: "a"}}}, "want an absolute path"},
		{"a user namespace to join", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "user", Path: "/proc/1/ns/user"}}}, ""},
		{"a time namespace to join", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "time", Path: "/proc/1/ns/time"}}}, ""},
		{"users", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "user"}}, UIDMappings: mapped, GIDMappings: mapped}, ""},
		{"users without a mapping", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "user"}}}, "wants linux.uidMappings"},
		{"users without root", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "user"}}, UIDMappings: mapped[1:], GIDMappings: mapped}, "want containerID 0"},
		{"a mapping without users", specs.Linux{UIDMappings: mapped}, "for a user namespace"},
		{"offsets without time", specs.Linux{TimeOffsets: map[string]specs.LinuxTimeOffset{"boottime": {}}}, "for a new time namespace"},
		{"offsets of a time namespace to join", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "time", Path: "/proc/1/ns/time"}}, TimeOffsets: map[string]specs.LinuxTimeOffset{"boottime": {}}}, "for a new time namespace"},
		{"an unknown clock", specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "time"}}, TimeOffsets: map[string]specs.LinuxTimeOffset{"realtime": {}}}, "want monotonic or boottime"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(&tt.l)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestHostUser(t *testing.T) {
	mapped := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}}
	users, err := Parse(&specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "user"}}, UIDMappings: mapped, GIDMappings: mapped})
	require.NoError(t, err)
	none, err := Parse(nil)
	require.NoError(t, err)

	uid, gid, err := users.HostUser(3, 9)
	assert.NoError(t, err)
	assert.Equal(t, []int{100003, 100009}, []int{uid, gid})
	_, _, err = users.HostUser(10, 0)
	assert.ErrorContains(t, err, "want one that linux.uidMappings")
	uid, gid, err = none.HostUser(10, 11)
	assert.NoError(t, err)
	assert.Equal(t, []int{10, 11}, []int{uid, gid})
}

// What is no namespace is refused before anything starts, and without waiting.
func TestJoinWhatIsNone(t *testing.T) {
	for _, kind := range []specs.LinuxNamespaceType{specs.MountNamespace, specs.UserNamespace, specs.TimeNamespace} {
		for _, path := range []string{"/dev/null", "/nonexistent/ns"} {
			s, err := Parse(&specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: kind, Path: path}}})
			require.NoError(t, err)
			cmd := exec.Command("true")
			assert.ErrorContains(t, s.Start(cmd, nil), string(kind)+" namespace")
			assert.Nil(t, cmd.Process)
		}
	}
}

// Without nsenter an error says which package has it.
func TestNoNsenter(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	s, err := Parse(&specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "user", Path: "/proc/self/ns/user"}}})
	require.NoError(t, err)
	assert.ErrorContains(t, s.FindMappings(), "install the package util-linux")
	cmd := exec.Command("true")
	assert.ErrorContains(t, s.Start(cmd, nil), "install the package util-linux")
	assert.Nil(t, cmd.Process)
}
