package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kapsel/bench"
)

// What the tool writes stands between these two lines of the document.
const (
	markBegin = "<!-- scripts/bench -update writes what follows -->\n"
	markEnd   = "<!-- scripts/bench -update wrote this -->\n"
)

// document writes the figures into the document, and the plots beside it.
func (m *measured) document(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), markBegin)
	_, after, ended := strings.Cut(rest, markEnd)
	if !found || !ended {
		return fmt.Errorf("%s: want the lines %q and %q", path, strings.TrimSpace(markBegin), strings.TrimSpace(markEnd))
	}
	plots := strings.TrimSuffix(path, filepath.Ext(path))
	if err := m.plots(plots); err != nil {
		return err
	}
	figures := m.figures(filepath.Base(plots))
	return os.WriteFile(path, []byte(before+markBegin+figures+markEnd+after), 0o644)
}

// plots writes the pictures into a folder.
func (m *measured) plots(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for name, c := range m.charts() {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(c.Write(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// The names of the pictures.
const (
	plotOfPaths = "paths.svg"
	plotOfPeers = "peers.svg"
)

// longest is the longest path, in instructions, that the plot of paths has.
const longest = 4000

// charts returns the pictures for which there is anything to show.
func (m *measured) charts() map[string]*bench.Chart {
	paths := &bench.Chart{Title: "Instructions of a path", Remark: "of those up to " + number(longest) + "; counted under QEMU, less what measuring takes",
		Unit: "instructions", Mark: "goal: at most"}
	for _, name := range m.counts.Names() {
		v, ok := m.counts.Figure(name, "instructions/op")
		if !ok || v > longest || strings.HasPrefix(name, "Boot") || strings.HasPrefix(name, "Empty") {
			continue
		}
		goal, _ := bench.Goal(name)
		paths.Bars = append(paths.Bars, bench.Bar{Name: name, Value: max(v, 0), Mark: goal})
	}
	peers := &bench.Chart{Title: "Peers", Remark: "what a peer takes for each instruction or tick that Kapsel takes; right of 1 the peer takes more",
		Unit: "peer's : ours", Ratio: true}
	for _, c := range comparisons {
		theirs, ok := m.peers.get(c.theirs)
		ours, both := m.peers.get(c.ours)
		if c.bar != "" && ok && both && theirs > 0 && ours > 0 {
			peers.Bars = append(peers.Bars, bench.Bar{Name: c.bar, Value: theirs / ours})
		}
	}
	charts := map[string]*bench.Chart{}
	for name, c := range map[string]*bench.Chart{plotOfPaths: paths, plotOfPeers: peers} {
		if len(c.Bars) > 0 {
			charts[name] = c
		}
	}
	return charts
}

// figures returns the text between the marks. plots is the folder of the pictures.
func (m *measured) figures(plots string) string {
	var b strings.Builder
	charts := m.charts()
	picture := func(name, text string) {
		if charts[name] != nil {
			fmt.Fprintf(&b, "\n![%s](%s/%s)\n", text, plots, name)
		}
	}
	b.WriteString("\n")
	for _, f := range m.facts {
		fmt.Fprintf(&b, "- %s: %s\n", f[0], f[1])
	}
	b.WriteString("\n### Paths, memory, size\n\n")
	m.writePaths(&b)
	if on := m.kvm.Fact("accel"); on != "" {
		fmt.Fprintf(&b, "\nExits: %s; %s.\n", on, m.kvm.Fact("kvm"))
	}
	picture(plotOfPaths, "Bars: instructions of each path, with the goals")
	section := func(title, remark string, t table) {
		if t.empty() {
			return
		}
		fmt.Fprintf(&b, "\n### %s\n\n", title)
		if remark != "" {
			fmt.Fprintf(&b, "%s\n\n", remark)
		}
		t.write(&b)
	}
	section("Stages of booting", "", m.booting())
	for _, least := range [][2]string{{"The smallest memory", "SmallestMemory"}, {"The minimal board's", bench.MinimalMemory}} {
		if pvh, ok := m.counts.Figure(least[1], "KiB"); ok {
			fmt.Fprintf(&b, "\n%s: %s KiB by the PVH door", least[0], number(pvh))
			if direct, ok := m.kvm.Figure(least[1], "KiB"); ok {
				fmt.Fprintf(&b, ", %s KiB by the direct one", number(direct))
			}
			b.WriteString(".\n")
		}
	}
	for _, k := range kinds {
		section("Growth with "+k.name, k.remark, growthTable(m.growth[k.name]))
	}
	where := "In the nested machine a nanosecond is a tick."
	if m.hostKVM != "" {
		where += " This host's KVM: " + m.hostKVM + "."
	}
	section("The monitor", where, m.monitor())
	section("Peers, counted", "", peerTable(m.peers, true))
	picture(plotOfPeers, "Bars: what peers take, as a ratio to Kapsel")
	section("Peers, timed on this host's KVM", "", peerTable(m.timed, false))
	section("A sandbox, counted", "", sandboxTable(m.peers, true))
	section("A sandbox, timed on this host's KVM", "", sandboxTable(m.timed, false))
	section("Start to first output, counted", "", startTable(m.peers, true))
	section("Start to first output, timed on this host's KVM", "", startTable(m.timed, false))
	b.WriteString("\n")
	return b.String()
}
