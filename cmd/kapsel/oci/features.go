package oci

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// minVersion is the oldest version of the specification whose configurations are understood.
const minVersion = "1.0.0"

// featuresVerb is "kapsel oci features" (runtime-spec, features.md).
func (r *call) featuresVerb(args []string) (int, error) {
	f := newFlags("features")
	if err := f.Parse(args); err != nil {
		return statusFailed, flagError(f, err)
	}
	if f.NArg() > 0 {
		return statusFailed, fmt.Errorf("features: unexpected argument %q", f.Arg(0))
	}
	yes, no := true, false
	err := r.print(features.Features{
		OCIVersionMin: minVersion,
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  []string{},
		Linux: &features.Linux{
			Namespaces:   []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
			Capabilities: prefixed("CAP_", capabilityNames),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &no, Rdma: &no},
			Seccomp:      &features.Seccomp{Enabled: &no},
			Apparmor:     &features.Apparmor{Enabled: &no},
			Selinux:      &features.Selinux{Enabled: &no},
			IntelRdt:     &features.IntelRdt{Enabled: &no},
		},
	})
	if err != nil {
		return statusFailed, err
	}
	return statusDone, nil
}

func prefixed(prefix string, names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = prefix + name
	}
	return all
}
