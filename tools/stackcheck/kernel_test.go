package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const board = "guest/board/kvm"

// root is the module as it is.
var root = filepath.Join("..", "..")

// shared is the folder of what is built once for all tests.
var shared string

func TestMain(m *testing.M) {
	var err error
	if shared, err = os.MkdirTemp("", "stackcheck"); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(shared)
	os.Exit(status)
}

// buildShared builds the command mkimage and the kernel as it is.
var buildShared = sync.OnceValue(func() error {
	if err := runIn(root, "go", "build", "-o", shared, "./tools/mkimage"); err != nil {
		return err
	}
	return mkimage(root, shared)
})

// mkimage builds the kernel of a module into a folder, by more flags if there are any.
func mkimage(module, out string, flags ...string) error {
	args := append([]string{"-o", filepath.Join(out, "kapsel.elf"), "-no-tasks"}, flags...)
	return runIn(module, filepath.Join(shared, "mkimage"), args...)
}

// runIn runs a command in a folder. Its error has all that the command said.
func runIn(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return nil
}

// theKernel returns the kernel as it is.
func theKernel(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the kernel")
	}
	require.NoError(t, buildShared())
	return filepath.Join(shared, "kernel.elf")
}

// changedKernel copies what a kernel is built of, adds files, and builds it. It returns the folder of
// the module and the kernel.
func changedKernel(t *testing.T, files map[string]string) (dir, kernel string) {
	t.Helper()
	theKernel(t) // and with it the command
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "guest"), os.DirFS(filepath.Join(root, "guest"))))
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	require.NoError(t, mkimage(dir, filepath.Join(dir, "out")))
	return dir, filepath.Join(dir, "out", "kernel.elf")
}

// stack runs the command.
func stack(dir, kernel string, markdown bool) (status int, out, errs string) {
	var o, e bytes.Buffer
	status = run(dir, board, kernel, markdown, &o, &e)
	return status, o.String(), e.String()
}

// The other board's kernel: every call is followed, nothing recurses, and the stack is large enough.
func TestMinimalKernel(t *testing.T) {
	const minimal = "guest/board/minimal"
	theKernel(t) // and with it the command
	out := filepath.Join(shared, "minimal")
	require.NoError(t, mkimage(root, out, "-kernel", "./"+minimal))
	r, problems, err := check(root, minimal, filepath.Join(out, "kernel.elf"))
	require.NoError(t, err)
	require.Empty(t, problems)
	assert.Positive(t, r.margin())
	assert.Less(t, returnsToTask(t, r), 8)
}

// The kernel as it is: every call is followed, nothing recurses, the stack is large enough, and
// docs/stack.md says so.
func TestKernel(t *testing.T) {
	kernel := theKernel(t)
	status, out, errs := stack(root, kernel, false)
	require.Equal(t, 0, status, "%s", errs)
	t.Log("\n" + out)
	for _, entry := range []string{"boot ", "main loop ", "system call ", "interrupt ", "deferred call", "interrupt while idle ", "interrupt while polling ", "on top of it, panic "} {
		assert.Contains(t, out, entry)
	}
	status, markdown, errs := stack(root, kernel, true)
	require.Equal(t, 0, status, "%s", errs)
	committed, err := os.ReadFile(filepath.Join(root, "docs", "stack.md"))
	require.NoError(t, err)
	assert.Equal(t, markdown, string(committed), "docs/stack.md is stale: run scripts/build, "+
		"then go run ./tools/stackcheck -markdown > docs/stack.md")
}

// When a task traps the kernel returns from functions that it called before the task ran. It refills
// the return stack for them with 8 entries (REFILL_RETURNS in guest/arch/amd64/trap_amd64.s), so there
// have to be fewer, from main down to switchTo.
func TestFewerReturnsBehindATrapThanRefilled(t *testing.T) {
	r, problems, err := check(root, board, theKernel(t))
	require.NoError(t, err)
	require.Empty(t, problems)
	most := returnsToTask(t, r)
	assert.Greater(t, most, 2, "the main loop calls the CPU, which calls switchTo")
	assert.Less(t, most, 8)
}

// returnsToTask is the most calls from main down to switchTo.
func returnsToTask(t *testing.T, r *report) int {
	t.Helper()
	main, switchTo := r.byName["main.main"], r.byName[archPackage+".switchTo"]
	require.Len(t, main, 1)
	require.Len(t, switchTo, 1)
	return longest(r.graph, main[0], switchTo[0], map[*function]int{})
}

// longest is the most calls on a way from one function to another, or -1 if there is none.
func longest(g *graph, from, to *function, known map[*function]int) int {
	if from == to {
		return 0
	}
	if n, ok := known[from]; ok {
		return n
	}
	most := -1
	for _, e := range g.depths[from].edges {
		if n := longest(g, e.to, to, known); n >= 0 {
			most = max(most, n+1)
		}
	}
	known[from] = most
	return most
}

// The compiler's own table of frames is what the chains are made of: they are as large as the code says.
// A function with a buffer of 9000 bytes has to cost that.
func TestLargeFrame(t *testing.T) {
	dir, kernel := changedKernel(t, map[string]string{
		board + "/large.go": `//go:build kapsel_kernel

package main

func init() { system.large() }

//go:noinline
func (*board) large() {
	var b [9000]byte
	fill(b[:])
}

//go:noinline
func fill(b []byte) {
	for i := range b {
		b[i] = byte(i)
	}
}
`})
	status, out, errs := stack(dir, kernel, true)
	require.Equal(t, 0, status, "%s", errs)
	assert.Regexp(t, `(?m)^ +90\d\d  main\.\(\*board\)\.large$`, out)
	assert.Regexp(t, `(?m)^\| boot \| 0 \| 9\d\d\d \|`, out)
}

func TestStackTooSmall(t *testing.T) {
	dir, kernel := changedKernel(t, map[string]string{
		board + "/large.go": `//go:build kapsel_kernel

package main

func init() {
	var b [40000]byte
	fill(b[:])
}

//go:noinline
func fill(b []byte) {
	for i := range b {
		b[i] = byte(i)
	}
}
`})
	status, _, errs := stack(dir, kernel, false)
	assert.Equal(t, 1, status)
	assert.Regexp(t, `the stack is \d+ bytes too small: raise stackSize in guest/arch/amd64/boot\.go`, errs)
}

// chain calls itself by way of an interface, in a capsule, which no tool that looks at names
// alone would find.
const chain = `package alarm

type follower interface{ follow(n int) int }

type node struct{ next follower }

func (c *node) follow(n int) int {
	if n == 0 {
		return 0
	}
	return c.next.follow(n-1) + 1
}

// Follow goes along a chain.
func Follow(n int) int {
	var first, second node
	chains[0], chains[1] = first, second
	chains[0].next, chains[1].next = &chains[1], &chains[0]
	return chains[0].follow(n)
}

var chains [2]node
`

func TestBadKernels(t *testing.T) {
	for _, tt := range []struct {
		name, capsule, board string
		want                 []string
	}{
		{"recursion through an interface", chain, "func init() { length = alarm.Follow(3) }\n\nvar length int\n", []string{
			"kapsel/guest/capsules/alarm/broken.go:7: recursion, and the stack is of fixed size: " +
				"guest/capsules/alarm.(*node).follow calls guest/capsules/alarm.(*node).follow",
		}},
		{
			"recursion through a function value",
			"package alarm\n\nvar step func(n int) int\n\n// Start begins.\nfunc Start(n int) int {\n\tstep = again\n\treturn step(n)\n}\n\n" +
				"func again(n int) int {\n\tif n == 0 {\n\t\treturn 0\n\t}\n\treturn step(n-1) + 1\n}\n",
			"func init() { length = alarm.Start(3) }\n\nvar length int\n", []string{
				"kapsel/guest/capsules/alarm/broken.go:11: recursion, and the stack is of fixed size: " +
					"guest/capsules/alarm.again calls guest/capsules/alarm.again",
			},
		},
		{
			"a type parameter's method",
			"package alarm\n\n// Sizer has a size.\ntype Sizer interface{ Size() int }\n\n// Twice is twice the size.\n//\n//go:noinline\n" +
				"func Twice[T Sizer](v T) int { return v.Size() + v.Size() }\n",
			"type one struct{ n int }\n\nfunc (o *one) Size() int { return o.n }\n\nfunc init() { length = alarm.Twice(&first) }\n\nvar (\n\tfirst one\n\tlength int\n)\n",
			[]string{"kapsel/guest/capsules/alarm/broken.go:9: ", "it is not known where this call goes"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, kernel := changedKernel(t, map[string]string{
				"guest/capsules/alarm/broken.go": tt.capsule,
				board + "/broken.go":             "//go:build kapsel_kernel\n\npackage main\n\nimport \"kapsel/guest/capsules/alarm\"\n\n" + tt.board,
			})
			status, out, errs := stack(dir, kernel, false)
			assert.Equal(t, 1, status)
			assert.Empty(t, out)
			for _, want := range tt.want {
				assert.Contains(t, errs, want)
			}
		})
	}
}

func TestUnusable(t *testing.T) {
	status, _, errs := stack(root, "main.go", false)
	assert.Equal(t, 2, status)
	assert.Contains(t, errs, "stackcheck: main.go: ")
	_, err := loadSources(t.TempDir(), board)
	assert.ErrorContains(t, err, "this is not the root of a module")
}

// An interface that nothing is ever put into is always nil: a call through it is none.
func TestEmptyInterfaceIsNoProblem(t *testing.T) {
	dir, kernel := changedKernel(t, map[string]string{
		board + "/empty.go": `//go:build kapsel_kernel

package main

type listener interface{ Heard(n int) }

var nobody listener

func init() {
	if nobody != nil {
		nobody.Heard(3)
	}
}
`})
	status, _, errs := stack(dir, kernel, false)
	assert.Equal(t, 0, status, "%s", errs)
}
