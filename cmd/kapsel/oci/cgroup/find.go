package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// hierarchy is a mounted hierarchy.
type hierarchy struct {
	root        string // where it is mounted
	v2          bool
	controllers []string // of version 1, and "name=..." for a hierarchy without any
}

// find reads a table of mounts (proc(5), /proc/PID/mountinfo) and returns the hierarchies, each once.
func find(mountinfo string) ([]hierarchy, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return nil, fmt.Errorf("finding where cgroups are mounted: %w", err)
	}
	defer f.Close()
	var found []hierarchy
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		h, ok := parseMount(lines.Text())
		if ok && !slices.ContainsFunc(found, h.same) {
			found = append(found, h)
		}
	}
	return found, lines.Err()
}

// same reports whether another is of the same controllers.
func (h hierarchy) same(other hierarchy) bool {
	return h.v2 == other.v2 && slices.Equal(h.controllers, other.controllers)
}

// flags are options of a version 1 file system that name no controller (kernel/cgroup/cgroup-v1.c, cgroup1_show_options).
var flags = []string{"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "nofavordynmods", "seclabel"}

// parseMount reads a line of the table:
//
//	31 23 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu
func parseMount(line string) (h hierarchy, ok bool) {
	mount, filesystem, ok := strings.Cut(line, " - ")
	fields, kind := strings.Fields(mount), strings.Fields(filesystem)
	if !ok || len(fields) < 6 || len(kind) < 3 {
		return h, false
	}
	h.root = unescape(fields[4])
	switch kind[0] {
	case "cgroup2":
		h.v2 = true
		return h, true
	case "cgroup":
		for option := range strings.SplitSeq(kind[2], ",") {
			if !slices.Contains(flags, option) && !strings.HasPrefix(option, "release_agent=") {
				h.controllers = append(h.controllers, option)
			}
		}
		return h, true
	}
	return h, false
}

// unescape undoes what the table does to characters that would divide fields.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// clean is a group's path from the root of a hierarchy, without anything that leads above it.
func clean(name string, systemd bool) (string, error) {
	if systemd {
		var err error
		if name, err = scope(name); err != nil {
			return "", err
		}
	}
	if strings.ContainsAny(name, "\n\x00") {
		return "", fmt.Errorf("cgroup path %.200q: want one without line ends and NUL characters", name)
	}
	cleaned := path.Clean("/" + name)
	if cleaned == "/" {
		return "", errors.New("no cgroup path: want one as /kapsel/NAME; the root is all of the host's")
	}
	return cleaned, nil
}

// scope is the path of systemd's scope PREFIX-NAME.scope in a slice, by SLICE:PREFIX:NAME, as containers/runc (docs/systemd.md) and its callers have it. A slice a-b.slice lies in
// a.slice (systemd.slice(5)), and without a slice it is system.slice.
func scope(name string) (string, error) {
	parts := strings.Split(name, ":")
	if len(parts) != 3 || parts[2] == "" {
		return "", fmt.Errorf("cgroup path %.200q with --systemd-cgroup: want SLICE:PREFIX:NAME, as system.slice:kapsel:ID", name)
	}
	slice, prefix, unit := parts[0], parts[1], parts[2]
	if slice == "" {
		slice = "system.slice"
	}
	dir, err := expand(slice)
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(unit, ".slice") {
		return path.Join(dir, unit), nil
	}
	if prefix != "" {
		unit = prefix + "-" + unit
	}
	return path.Join(dir, unit+".scope"), nil
}

// expand is a slice's path: -.slice is the root.
func expand(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if name == "-" && ok {
		return "/", nil
	}
	parts := strings.Split(name, "-")
	if !ok || strings.Contains(name, "/") || slices.Contains(parts, "") {
		return "", fmt.Errorf("slice %.200q: want a name as system.slice or a-b.slice", slice)
	}
	dir := "/"
	for i := range parts {
		dir = path.Join(dir, strings.Join(parts[:i+1], "-")+".slice")
	}
	return dir, nil
}
