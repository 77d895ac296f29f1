package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// uses has something of each package that a task can import, to be linked.
var uses = map[string]string{
	"cmp":                 "n = cmp.Compare(n, 2)",
	"container/list":      "l := list.New(); l.PushBack(n); n = l.Front().Value.(int)",
	"container/ring":      "r := ring.New(3); r.Value = n; r.Do(func(any) { n++ })",
	"crypto/subtle":       "n = subtle.ConstantTimeCompare(b, b) + subtle.XORBytes(b, b, b)",
	"encoding":            "anything = encoding.TextMarshaler(nil)",
	"image/color":         "n = int(color.GrayModel.Convert(color.White).(color.Gray).Y)",
	"image/color/palette": "n = len(palette.Plan9)",
	"math":                "x = math.Sin(x) + math.Pow(x, 2.5) + math.Exp(x) + math.FMA(x, x, x) + math.Gamma(x) + math.Mod(x, 3)",
	"math/bits":           "q, r := bits.Div64(1, 2, uint64(n)); n = bits.OnesCount64(q) + bits.Len64(r)",
	"math/cmplx":          "x = real(cmplx.Acos(complex(x, 1)) / cmplx.Pow(2i, 3))",
	"structs":             "var s struct { _ structs.HostLayout; a int }; n = s.a",
	"unicode/utf16":       "n = len(utf16.Encode([]rune{65, 0x10000}))",
	"unicode/utf8":        "n = utf8.RuneCountInString(string(b)) + utf8.RuneCount(utf8.AppendRune(b, 'a'))",
	"unsafe":              "n = int(unsafe.Sizeof(n))",
}

const user = `//go:build %s

package main

import (
	"%s"
	%s
)

var (
	n        = 7
	x        = 2.0
	b        = []byte{1, 2, 3}
	anything any
)

func %s() {
	%s
	n += int(x) + len(b)
}
`

// userOf is a file that uses a package.
func userOf(tag, pkg, also, function, use string) string {
	return fmt.Sprintf(user, tag, pkg, also, function, use)
}

// What is said to be importable is so, and docs/HACKING.md lists it.
func TestTaskImports(t *testing.T) {
	t.Chdir(newModule(t, nil))
	tc, err := findToolchain()
	require.NoError(t, err)
	for _, pkg := range inTask.library {
		t.Run(pkg, func(t *testing.T) {
			require.Contains(t, uses, pkg, "a use to test")
			require.NoError(t, write(".", "guest/tasks/user/main.go", userOf("kapsel_task", pkg, `_ "kapsel/guest/task"`, "main", uses[pkg])))
			_, err := objectOf(tc, "./guest/tasks/user", t.TempDir(), false)
			assert.NoError(t, err)
		})
	}
}

func TestKernelImports(t *testing.T) {
	dir := newModule(t, nil)
	t.Chdir(dir)
	for _, pkg := range inKernel.library {
		t.Run(pkg, func(t *testing.T) {
			use := uses[pkg]
			if pkg == "unicode/utf8" { // some of its functions allocate
				use = "r, size := utf8.DecodeRune(b); n = int(r) + size"
			}
			require.NoError(t, write(dir, "guest/board/kvm/user.go", userOf("kapsel_kernel", pkg, "", "init", use)))
			assert.NoError(t, runQuietly("out/kapsel.elf"))
		})
	}
}

// runQuietly builds an image in the working folder.
func runQuietly(out string, tasks ...string) error {
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	var err error
	if os.Stdout, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return err
	}
	defer os.Stdout.Close()
	return run(out, board, "", false, tasks)
}

func TestDocumentedImports(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "HACKING.md"))
	require.NoError(t, err)
	for _, p := range []*place{inTask, inKernel} {
		list := "`" + strings.Join(p.library, "`, `") + "`"
		assert.True(t, strings.Contains(strings.Join(strings.Fields(string(b)), " "), list), "docs/HACKING.md lists, for %s: %s", p.name, list)
	}
}

// Each import that has no place is named where it stands.
func TestImportsWithoutAPlace(t *testing.T) {
	const (
		fmtWords = "it needs Go's own runtime; print with task.Print, numbers by task.Decimal and task.Hex (docs/HACKING.md lists what can be imported)"
		plain    = "it needs Go's own runtime (docs/HACKING.md lists what can be imported)"
	)
	withTask := "//go:build kapsel_task\n\npackage main\n\nimport (\n\t%s\n\n\t_ \"kapsel/guest/task\"\n)\n\nfunc main() {}\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		task  string // "" for the kernel alone
		want  string
	}{
		{"in a task", map[string]string{"guest/tasks/user/main.go": fmt.Sprintf(withTask, `"fmt"`)}, "./guest/tasks/user",
			`guest/tasks/user/main.go:6: import "fmt" cannot be used in a task: ` + fmtWords},
		{"two", map[string]string{"guest/tasks/user/main.go": fmt.Sprintf(withTask, "\"regexp\"\n\t\"fmt\"")}, "./guest/tasks/user",
			`guest/tasks/user/main.go:6: import "regexp" cannot be used in a task: ` + plain + "\n" +
				`guest/tasks/user/main.go:7: import "fmt" cannot be used in a task: ` + fmtWords},
		{"by another package, by another", map[string]string{
			"guest/tasks/user/main.go": fmt.Sprintf(withTask, `_ "kapsel/one"`),
			"one/one.go":               "package one\n\nimport _ \"kapsel/two\"\n",
			"two/two.go":               "package two\n\nimport f \"fmt\"\n\nvar _ = f.Sprint\n",
		}, "./guest/tasks/user",
			`two/two.go:3: import "fmt" cannot be used in a task ("kapsel/guest/tasks/user" imports "kapsel/one", "kapsel/one" imports "kapsel/two"): ` + fmtWords},
		{"of the kernel, in a task", map[string]string{"guest/tasks/user/main.go": fmt.Sprintf(withTask, `_ "kapsel/guest/mmio"`)}, "./guest/tasks/user",
			`guest/tasks/user/main.go:6: import "kapsel/guest/mmio" cannot be used in a task: it is part of the kernel: call the kernel with package kapsel/guest/task`},
		{"in a capsule", map[string]string{"guest/capsules/alarm/user.go": "package alarm\n\nimport _ \"fmt\"\n"}, "",
			`guest/capsules/alarm/user.go:3: import "fmt" cannot be used in ring 0 ("kapsel/guest/board/kvm" imports "kapsel/guest/capsules/alarm"): ` +
				"it needs Go's own runtime; write with package kapsel/guest/kernel/format (docs/HACKING.md lists what can be imported)"},
		{"of the tasks, in the board", map[string]string{"guest/board/kvm/user.go": "//go:build kapsel_kernel\n\npackage main\n\nimport _ \"kapsel/guest/task\"\n"}, "",
			`guest/board/kvm/user.go:5: import "kapsel/guest/task" cannot be used in ring 0: it is the tasks' own`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(newModule(t, tt.files))
			var tasks []string
			if tt.task != "" {
				tasks = []string{tt.task}
			}
			assert.EqualError(t, runQuietly("out/kapsel.elf", tasks...), tt.want)
			assert.NoFileExists(t, "out/kapsel.elf")
		})
	}
}

// Every package of the standard library is either importable or refused in words of ours.
func TestEveryStandardPackageHasAPlaceOrNone(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	said, err := output(exec.Command("go", "list", "std"))
	require.NoError(t, err)
	all := strings.Fields(said)
	for _, p := range []*place{inTask, inKernel} {
		for _, pkg := range p.library {
			assert.Contains(t, all, pkg, "%s: of this Go", p.name)
		}
		for _, a := range p.instead {
			assert.NotContains(t, p.library, a.path, "%s", p.name)
		}
		for _, pkg := range all {
			if !slices.Contains(p.library, pkg) {
				assert.Contains(t, p.objection(pkg, true), "it needs Go's own runtime", pkg)
			}
		}
	}
	assert.NoError(t, inTask.checkImports(nil))
}
