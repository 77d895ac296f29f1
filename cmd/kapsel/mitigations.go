package main

import (
	"encoding/binary"
	"io/fs"
	"strings"

	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/vmm"
)

// hostFindings tells what the host's kernel does against transient execution: that isolates one machine
// from another. fsys is /sys/devices/system/cpu (Linux, Documentation/ABI/testing/sysfs-devices-system-cpu).
func hostFindings(fsys fs.FS) []finding {
	const folder = "vulnerabilities"
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return []finding{{"host's mitigations", "?", "the host's kernel does not tell"}}
	}
	all := []finding{{"host's mitigations", "", "between machines"}}
	var unaffected []string
	for _, e := range entries {
		said := readLine(fsys, folder+"/"+e.Name())
		switch {
		case said == "Not affected":
			unaffected = append(unaffected, e.Name())
		case strings.Contains(strings.ToLower(said), "vulnerable"):
			all = append(all, finding{"  " + e.Name(), "no", said})
		default:
			all = append(all, finding{"  " + e.Name(), "yes", said})
		}
	}
	if len(unaffected) > 0 {
		all = append(all, finding{"  not affected", "", strings.Join(unaffected, " ")})
	}
	if readLine(fsys, "smt/active") == "1" {
		return append(all, finding{"  SMT", "on", "a sibling thread may run another machine: switch SMT off, or use core scheduling"})
	}
	return append(all, finding{"  SMT", "off", "no sibling thread shares the core"})
}

// readLine is a file of one line, or empty.
func readLine(fsys fs.FS, name string) string {
	b, _ := fs.ReadFile(fsys, name)
	return strings.TrimSpace(string(b))
}

// guestPlan is what the kernel does under this host's KVM, or nil if that cannot be found out.
func guestPlan() *mitigation.Plan {
	processor, err := vmm.GuestProcessor()
	if err != nil {
		return nil
	}
	plan := processor.Plan(mitigation.Auto)
	return &plan
}

// kernelFinding tells what the kernel does: that isolates the tasks of one machine. It is the line that
// the kernel prints when it boots.
func kernelFinding(plan *mitigation.Plan) finding {
	var said planText
	plan.Print(&said)
	_, text, _ := strings.Cut(strings.TrimSpace(said.String()), ": ")
	return finding{"kernel's mitigations", "", text}
}

// meltdownAdvice is for a processor on which tasks are not isolated against Meltdown.
const meltdownAdvice = "By Meltdown a task can read all memory of its machine on this processor: " +
	"give owners who do not trust each other a machine each (docs/security.md)."

// planText takes what a Plan prints.
type planText struct{ strings.Builder }

func (t *planText) WriteString(s string) { t.Builder.WriteString(s) }

func (t *planText) WriteChars(chars uint64, n int) {
	t.Builder.Write(binary.LittleEndian.AppendUint64(nil, chars)[:n])
}
