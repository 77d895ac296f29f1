package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// An app is an object of a test.
type app struct {
	name    string
	short   uint32
	version uint32
	change  func(*tbfbuild.Spec) // nil: none
}

func (a app) object(t testing.TB) []byte {
	return kerneltest.Object(t, a.name, func(s *tbfbuild.Spec) {
		s.ShortID, s.Version = a.short, a.version
		if a.change != nil {
			a.change(s)
		}
	})
}

// loadApps loads the apps, those behind next in a second place, and returns the names of
// the tasks in the order of slots, with their versions.
func loadApps(t *testing.T, m *machine, apps []app, next int) []string {
	t.Helper()
	for i, a := range apps {
		if i == next {
			m.NextPlace()
		}
		m.AddObject(a.object(t))
	}
	m.Load()
	var tasks []string
	var task kernel.Task
	m.Kernel.EachTask(m.Capabilities.TaskManagement, &task, func() {
		var name kerneltest.Log
		task.PrintName(&name, 0)
		assert.EqualValues(t, len(tasks), task.ID().Slot())
		assert.EqualValues(t, len(tasks)+1, task.ID().Number())
		tasks = append(tasks, name.String())
	})
	return tasks
}

func disabled(s *tbfbuild.Spec) { s.Disabled = true }

func TestVersions(t *testing.T) {
	header, name, none := &kernel.HeaderIdentity{}, &kernel.NameIdentity{}, &kernel.NoIdentity{}
	for _, c := range []struct {
		name   string
		policy kernel.IdentityPolicy
		apps   []app
		want   []string
		log    string // what a line begins with
	}{
		{"header: the newest is last", header, []app{{"a1", 7, 1, nil}, {"b", 0, 0, nil}, {"a2", 7, 2, nil}}, []string{"b", "a2"},
			"task object at offset 0x0 skipped: it is the same application as a2, which has version 2; this has version 1\n"},
		{"header: the newest is first", header, []app{{"a2", 7, 2, nil}, {"b", 0, 0, nil}, {"a1", 7, 1, nil}}, []string{"a2", "b"},
			"task object at offset 0x2000 skipped: it is the same application as a2, which has version 2; this has version 1\n"},
		{"header: the newest is in the middle", header, []app{{"a1", 7, 1, nil}, {"a3", 7, 3, nil}, {"a2", 7, 2, nil}}, []string{"a3"},
			"task object at offset 0x2000 skipped: it is the same application as a3, which has version 3; this has version 2\n"},
		{"header: equal versions", header, []app{{"first", 7, 5, nil}, {"second", 7, 5, nil}}, []string{"first"},
			"task object at offset 0x1000 skipped: it is the same application as first, which has version 5; this has version 5\n"},
		{"header: the largest version", header, []app{{"a", 7, 0xffffffff, nil}, {"b", 7, 0, nil}}, []string{"a"},
			"task object at offset 0x1000 skipped: it is the same application as a, which has version 4294967295; this has version 0\n"},
		{"header: other ShortIDs", header, []app{{"a", 7, 1, nil}, {"a", 8, 2, nil}}, []string{"a", "a"}, ""},
		{"header: none is unique", header, []app{{"a", 0, 1, nil}, {"a", 0, 2, nil}}, []string{"a", "a"}, ""},
		{"header: two applications in two versions", header,
			[]app{{"a1", 7, 1, nil}, {"b1", 8, 1, nil}, {"a2", 7, 2, nil}, {"b2", 8, 2, nil}}, []string{"a2", "b2"},
			"task object at offset 0x1000 skipped: it is the same application as b2, which has version 2; this has version 1\n"},
		{"a newer one that is disabled", header, []app{{"a1", 7, 1, nil}, {"a2", 7, 2, disabled}}, []string{"a1"},
			"task object at offset 0x1000 skipped: bad object: enabled flag"},
		{"a newer one that was changed", header,
			[]app{{"a1", 7, 1, nil}, {"a2", 7, 2, func(s *tbfbuild.Spec) { s.Credentials = []tbfbuild.Credential{wrongDigest} }}},
			[]string{"a1"}, "task object at offset 0x1000 skipped: a credential does not fit"},
		{"a newer one for which there can never be RAM", header,
			[]app{{"a1", 7, 1, nil}, {"a2", 7, 2, func(s *tbfbuild.Spec) { s.MinimumRAM = 1 << 20 }}}, []string{"a1"},
			"task object at offset 0x1000 skipped: not enough RAM left"},
		{"a newer one whose addresses cannot be", header,
			[]app{{"a1", 7, 1, nil}, {"a2", 7, 2, func(s *tbfbuild.Spec) { s.FixedAddresses = &tbf.FixedAddresses{RAM: 1, Flash: tbf.Unset} }}},
			[]string{"a1"}, "task object at offset 0x1000 skipped: its fixed addresses do not put"},

		{"name: two versions", name, []app{{"a", 1, 1, nil}, {"b", 1, 0, nil}, {"a", 2, 2, nil}}, []string{"b", "a"},
			"task object at offset 0x0 skipped: it is the same application as a, which has version 2; this has version 1\n"},
		{"name: without a name", name, []app{{"", 1, 1, nil}, {"", 1, 2, nil}}, []string{"(no name)", "(no name)"}, ""},
		{"name: names of one hash", name, []app{{"costarring", 0, 1, nil}, {"liquid", 0, 2, nil}}, []string{"liquid"},
			"task object at offset 0x0 skipped: it is the same application as liquid, which has version 2; this has version 1\n"},

		{"none", none, []app{{"a", 7, 1, nil}, {"a", 7, 1, nil}}, []string{"a", "a"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.Identity = c.policy
			assert.Equal(t, c.want, loadApps(t, m, c.apps, -1), m.Log.String())
			if c.log == "" {
				assert.NotContains(t, m.Log.String(), "skipped")
			} else {
				assert.Contains(t, m.Log.String(), c.log)
			}
		})
	}
}

// TestVersionsInTwoPlaces: it does not matter in which place an object lies.
func TestVersionsInTwoPlaces(t *testing.T) {
	apps := []app{{"a1", 7, 1, nil}, {"b2", 8, 2, nil}, {"a2", 7, 2, nil}, {"b1", 8, 1, nil}}
	m := newMachine(t)
	assert.Equal(t, []string{"b2", "a2"}, loadApps(t, m, apps, 2))
	assert.Contains(t, m.Log.String(), "task object at offset 0x0 skipped: it is the same application as a2, which has version 2; this has version 1\n")
	assert.Contains(t, m.Log.String(), "task object at offset 0x1000 skipped: it is the same application as b2, which has version 2; this has version 1\n")
}

// TestTasksStayBeforeNewerVersions: what was loaded by another call is not driven out.
func TestTasksStayBeforeNewerVersions(t *testing.T) {
	m := newMachine(t)
	assert.Equal(t, []string{"a1"}, loadApps(t, m, []app{{"a1", 7, 1, nil}}, -1))
	assert.Equal(t, []string{"a1", "b"}, loadApps(t, m, []app{{"a2", 7, 2, nil}, {"b", 8, 1, nil}}, -1))
	assert.Contains(t, m.Log.String(), "task object at offset 0x0 skipped: it is the same application as a1, which has version 1; this has version 2\n")
}

func withRAM(t *testing.T, ram int) *machine {
	return &machine{Machine: kerneltest.NewWithRAM(t, capability.Mint(), ram)}
}

// TestRefusedObjectsCostNothing: with RAM for as many tasks as there are slots, so many newest
// versions run, whatever else there is.
func TestRefusedObjectsCostNothing(t *testing.T) {
	const each = 6 * abi.PageSize // what Object asks for, the reserve for grants, and the task's record
	var apps []app
	for i := range kernel.MaxTasks {
		short := uint32(i + 1)
		apps = append(apps, app{fmt.Sprint("old", i), short, 1, nil}, app{fmt.Sprint("new", i), short, 2, nil},
			app{"disabled", short, 3, disabled})
	}
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(apps), func(i, j int) { apps[i], apps[j] = apps[j], apps[i] })
	var want []string
	for _, a := range apps {
		if a.version == 2 {
			want = append(want, a.name)
		}
	}
	m := withRAM(t, kernel.MaxTasks*each)
	assert.Equal(t, want, loadApps(t, m, apps, 20))

	m.AddObject(app{"more", 99, 1, nil}.object(t))
	assert.Equal(t, 0, m.Load())
	assert.Contains(t, m.Log.String(), "skipped: not enough RAM left")
}

// TestRAMForSome: where RAM is short the first objects get it, and slots stay without gaps.
func TestRAMForSome(t *testing.T) {
	large := func(s *tbfbuild.Spec) { s.MinimumRAM = 20 * abi.PageSize }
	m := withRAM(t, 25*abi.PageSize)
	assert.Equal(t, []string{"a", "c"}, loadApps(t, m, []app{{"a", 1, 1, nil}, {"b2", 2, 2, large}, {"c", 3, 1, nil}, {"b1", 2, 1, nil}}, -1),
		"b1 is no substitute for b2, which has only no room this time")
	assert.Contains(t, m.Log.String(), "task object at offset 0x1000 skipped: not enough RAM left for what it asks for\n")
	assert.Contains(t, m.Log.String(), "task object at offset 0x3000 skipped: it is the same application as b2, which has version 2; this has version 1\n")
}

// TestOrderDoesNotMatter: any order of the objects in any two places loads the same versions.
func TestOrderDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		var apps []app
		newest := map[uint32]uint32{}
		for i := range 1 + random.IntN(24) {
			a := app{fmt.Sprint(i), uint32(random.IntN(10)), uint32(random.IntN(4)), nil}
			if a.short == 0 && random.IntN(3) > 0 {
				a.short = 1
			}
			apps = append(apps, a)
			newest[a.short] = max(newest[a.short], a.version)
		}
		m := newMachine(t)
		var want []string
		taken := map[uint32]bool{}
		for _, a := range apps {
			if a.short == 0 || a.version == newest[a.short] && !taken[a.short] {
				taken[a.short] = true
				want = append(want, a.name)
			}
		}
		if len(want) > kernel.MaxTasks {
			continue
		}
		require.Equal(t, want, loadApps(t, m, apps, random.IntN(len(apps))), "%+v", apps)
	}
}

// samePolicy gives all objects one AppID and no ShortID.
type samePolicy struct{}

func (samePolicy) Identify(*tbf.Object) kernel.Identity { return kernel.Identity{AppID: []byte("one")} }

func TestAppIDAlone(t *testing.T) {
	m := newMachine(t)
	m.Identity = samePolicy{}
	assert.Equal(t, []string{"b"}, loadApps(t, m, []app{{"a", 0, 1, nil}, {"b", 0, 2, nil}, {"c", 0, 1, nil}}, -1))
}

// crossedPolicy takes name and ShortID as two things, and so breaks the rule that objects of
// one AppID have one ShortID.
type crossedPolicy struct{}

func (crossedPolicy) Identify(o *tbf.Object) kernel.Identity {
	id, _ := o.ShortID()
	return kernel.Identity{AppID: o.Name(), ShortID: id}
}

// TestNoTwoTasksShareAnIdentity: not even under a policy that contradicts itself.
func TestNoTwoTasksShareAnIdentity(t *testing.T) {
	for _, c := range []struct {
		name string
		apps []app
		want []string
	}{
		{"one drives out two", []app{{"a", 1, 1, nil}, {"b", 2, 1, nil}, {"b", 1, 2, nil}}, []string{"b"}},
		{"one drives out and is driven out", []app{{"a", 1, 1, nil}, {"b", 2, 3, nil}, {"b", 1, 2, nil}}, []string{"b"}},
	} {
		m := newMachine(t)
		m.Identity = crossedPolicy{}
		assert.Equal(t, c.want, loadApps(t, m, c.apps, -1), c.name)
	}
}

func TestShortIDs(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy kernel.IdentityPolicy
		app    app
		want   string
	}{
		{"header", &kernel.HeaderIdentity{}, app{"blink", 0x1234, 0, nil}, "0x00001234"},
		{"header without one", &kernel.HeaderIdentity{}, app{"blink", 0, 0, nil}, "Unique"},
		{"name", &kernel.NameIdentity{}, app{"a", 0x1234, 0, nil}, "0xe40c292c"}, // FNV-1a of "a"
		{"none", &kernel.NoIdentity{}, app{"blink", 0x1234, 0, nil}, "Unique"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.Identity = c.policy
			require.Len(t, loadApps(t, m, []app{c.app}, -1), 1)
			task := m.byName(c.app.name)
			var out kerneltest.Log
			task.PrintShortID(&out, 12)
			assert.Equal(t, fmt.Sprintf("%-12s", c.want), out.String())
			id, ok := task.ShortID()
			assert.Equal(t, c.want != "Unique", ok)
			if ok {
				assert.Equal(t, c.want, fmt.Sprintf("0x%08x", id))
			}
			out.Reset()
			task.Print(&out)
			assert.Contains(t, out.String(), "\n ShortID: "+c.want+"\n")
		})
	}
}
