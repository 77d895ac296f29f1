package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// limit is a value of linux.resources, and where it is written.
type limit struct {
	name       string // of the property
	controller string // "" for any
	v1, v2     setting
	optional   bool // a kernel without the file does not have what is limited
}

// setting is a file and what is written to it. Without a file there is none in that version.
type setting struct{ file, value string }

// in is the limit's setting in a hierarchy.
func (l limit) in(h hierarchy) (s setting, ok bool) {
	if h.v2 {
		return l.v2, l.v2.file != ""
	}
	return l.v1, l.v1.file != "" && slices.Contains(h.controllers, l.controller)
}

// set sets a limit in the hierarchy that has its controller: that of version 1, if there is one.
func (g *Group) set(l limit) error {
	at := slices.IndexFunc(g.dirs, func(d dir) bool { return !d.v2 && slices.Contains(d.controllers, l.controller) })
	if at < 0 {
		at = slices.IndexFunc(g.dirs, func(d dir) bool { return d.v2 })
	}
	if at < 0 {
		return fmt.Errorf("linux.resources.%s: no controller %q is mounted here: mount it, or leave the limit out", l.name, l.controller)
	}
	d := g.dirs[at]
	s, ok := l.in(d.hierarchy)
	switch {
	case !ok:
		return fmt.Errorf("linux.resources.%s: want controller %q of cgroup v2, found that of v1", l.name, l.controller)
	case s.file != filepath.Base(s.file) || controllerOf(s.file) == "cgroup":
		return fmt.Errorf("linux.resources.%s: want the name of a controller's file, as memory.high, found %.100q", l.name, s.file)
	}
	err := write(d.path, s.file, s.value)
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.optional:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("linux.resources.%s: %q has no %s: %s", l.name, d.path, s.file, lacking(d, l.controller))
	case err != nil:
		return fmt.Errorf("linux.resources.%s: writing %q: %w", l.name, s.value, err)
	}
	return nil
}

// lacking says why a group has no file of a controller.
func lacking(d dir, controller string) string {
	if d.v2 {
		above := filepath.Dir(d.path)
		if have, err := os.ReadFile(filepath.Join(above, "cgroup.controllers")); err == nil {
			return fmt.Sprintf("want controller %q there, found %q above, in %q: have it delegated (systemd: Delegate=yes), "+
				"and no processes in groups that have others below them", controller, strings.TrimSpace(string(have)), above)
		}
	}
	return "the kernel does not have it"
}

// limitsOf are the limits of linux.resources that a monitor can be held to. Limits of block devices, networks, huge pages and RDMA, and the rules of devices, are left
// out: the monitor opens what its command line names, and confines itself then.
func limitsOf(r *specs.LinuxResources) []limit {
	if r == nil {
		return nil
	}
	limits := slices.Concat(memoryLimits(r.Memory), cpuLimits(r.CPU))
	if p := r.Pids; p != nil && p.Limit != nil && *p.Limit != 0 {
		s := setting{"pids.max", orMax(*p.Limit)}
		limits = append(limits, limit{name: "pids.limit", controller: "pids", v1: s, v2: s})
	}
	for _, file := range slices.Sorted(maps.Keys(r.Unified)) {
		limits = append(limits, limit{name: "unified", controller: controllerOf(file), v2: setting{file, r.Unified[file]}})
	}
	return limits
}

// controllerOf is the controller whose file of version 2 has a name.
func controllerOf(file string) string {
	controller, _, _ := strings.Cut(file, ".")
	return controller
}

// orMax writes a number, and for one below 0 that there is no limit, as files of version 2 and pids.max have it.
func orMax(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// memoryLimits are those of linux.resources.memory, each in bytes; 0 means that it is not set, and -1 that there is none.
func memoryLimits(m *specs.LinuxMemory) (limits []limit) {
	if m == nil {
		return nil
	}
	add := func(name string, value *int64, v1, v2 string) {
		if value != nil && *value != 0 {
			limits = append(limits, limit{name: "memory." + name, controller: "memory",
				v1: setting{v1, strconv.FormatInt(*value, 10)}, v2: setting{v2, orMax(*value)}})
		}
	}
	add("limit", m.Limit, "memory.limit_in_bytes", "memory.max")
	add("reservation", m.Reservation, "memory.soft_limit_in_bytes", "memory.low")
	if m.Swap != nil && *m.Swap != 0 {
		swap := *m.Swap // with the memory, in version 1
		if m.Limit != nil && swap > 0 {
			swap = max(swap-max(*m.Limit, 0), 0)
		}
		limits = append(limits, limit{name: "memory.swap", controller: "memory", optional: true,
			v1: setting{"memory.memsw.limit_in_bytes", strconv.FormatInt(*m.Swap, 10)}, v2: setting{"memory.swap.max", orMax(swap)}})
	}
	return limits
}

// defaultPeriod is the kernel's of the processor's quota, in microseconds.
const defaultPeriod = 100_000

// cpuLimits are those of linux.resources.cpu.
func cpuLimits(c *specs.LinuxCPU) (limits []limit) {
	if c == nil {
		return nil
	}
	if c.Shares != nil && *c.Shares != 0 {
		limits = append(limits, limit{name: "cpu.shares", controller: "cpu",
			v1: setting{"cpu.shares", strconv.FormatUint(*c.Shares, 10)}, v2: setting{"cpu.weight", strconv.FormatUint(weight(*c.Shares), 10)}})
	}
	limits = append(limits, quota(c)...)
	for _, set := range []struct{ name, value string }{{"cpus", c.Cpus}, {"mems", c.Mems}} {
		if set.value != "" {
			s := setting{"cpuset." + set.name, set.value}
			limits = append(limits, limit{name: "cpu." + set.name, controller: "cpuset", v1: s, v2: s})
		}
	}
	return limits
}

// quota are the processor's time and its period, in microseconds: version 2 has them in one file.
func quota(c *specs.LinuxCPU) (limits []limit) {
	period := uint64(defaultPeriod)
	if c.Period != nil && *c.Period != 0 {
		period = *c.Period
		limits = append(limits, limit{name: "cpu.period", controller: "cpu", v1: setting{"cpu.cfs_period_us", strconv.FormatUint(period, 10)},
			v2: setting{"cpu.max", fmt.Sprintf("max %d", period)}})
	}
	if c.Quota != nil && *c.Quota != 0 {
		limits = append(limits, limit{name: "cpu.quota", controller: "cpu", v1: setting{"cpu.cfs_quota_us", strconv.FormatInt(*c.Quota, 10)},
			v2: setting{"cpu.max", fmt.Sprintf("%s %d", orMax(*c.Quota), period)}})
	}
	return limits
}

// weight is the weight of version 2, 1 to 10,000, for shares, 2 to 262,144, as runc and crun map them.
func weight(shares uint64) uint64 {
	shares = min(max(shares, 2), 262_144)
	return 1 + (shares-2)*9_999/262_142
}
