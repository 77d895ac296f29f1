package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/bench"
	"kapsel/guest/abi"
	"kapsel/vmm"
)

// mov dx, 0x3f8; then mov al, c; out dx, al for each character: the same in both modes.
func codePrint(text string) []byte {
	code := []byte{0x66, 0xba, 0xf8, 0x03}
	for _, c := range []byte(text) {
		code = append(code, 0xb0, c, 0xee)
	}
	return code
}

// mov eax, v; out port, eax
func codeOut(port, v byte) []byte { return []byte{0xb8, v, 0, 0, 0, 0xe7, port} }

// codeMeasured sets both marks around n port exits.
func codeMeasured(n int) []byte {
	return bytes.Join([][]byte{
		codeOut(abi.PortMark, abi.MarkBegin),
		bytes.Repeat(codeOut(abi.PortExit, 0), n),
		codeOut(abi.PortMark, abi.MarkEnd),
	}, nil)
}

var codeExit0 = codeOut(abi.PortDebugExit, 0)

// benchImage writes an image that prints what a benchmark image does, of which Memop took so
// many ticks, and then goes on for ever.
func benchImage(t *testing.T, memop string) string {
	t.Helper()
	return imageFile(t,
		codePrint("Kapsel\nbench-boot entered 100 main 1100 loaded 3100\nbench-boot first-task 5100\n"),
		codeMeasured(0), codePrint("bench Empty 4 unit=ticks 20*4\n"),
		codePrint("bench Preemption skipped: no timer\n"),
		codeMeasured(8), codePrint("bench Memop 4 unit=ticks "+memop+"*3 900*1\n"),
		codePrint("bench done\n"), codeSpin)
}

// twoImage writes an image that says that two tasks ended well.
func twoImage(t *testing.T) string {
	t.Helper()
	return imageFile(t, codePrint("1 exit with code 0\r\n2 exit with code 0\r\n"), codeExit0)
}

// runBench runs the command with the fake images and returns what it printed.
func runBench(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd, out, err := kapsel(t, append([]string{"bench"}, args...)...)
	cmd.Run()
	require.Equal(t, status, cmd.ProcessState.ExitCode(), "%s%s", out, err)
	return out.String(), err.String()
}

func TestBench(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, accel string) {
		paths := map[string]string{"kvm": "", "qemu": "^(Boot|Empty|Memop|Preem)"}[accel] // QEMU's dozen of boots takes long
		out, progress := runBench(t, 0, "--accel", accel, "--count", "2", "--run", paths, "--small", twoImage(t), benchImage(t, "170"))
		assert.Contains(t, progress, "kapsel: boot 1 of 2: Empty\nkapsel: boot 1 of 2: Preemption\nkapsel: boot 1 of 2: Memop\nkapsel: boot 2 of 2: Empty\n")
		assert.Contains(t, progress, "kapsel: warning: ")
		assert.Contains(t, out, "# skipped Preemption: no timer\n")

		run, err := bench.Read([]byte(out))
		require.NoError(t, err)
		assert.Equal(t, "kapsel", run.Fact("pkg"))
		assert.Contains(t, run.Fact("accel"), accel)
		unit := map[string]string{"kvm": "cycles", "qemu": "instructions"}[accel]
		for name, want := range map[string]float64{"BootMain": 1000, "BootLoaded": 3000, "BootFirstTask": 5000, "Empty": 20, "Memop": 150} {
			assert.Equal(t, []float64{want, want}, run.Values(name, unit+"/op"), name)
		}
		assert.Equal(t, []float64{880, 880}, run.Values("Memop", "p99-"+unit))

		if accel == "qemu" {
			assert.Empty(t, run.Values("Memop", "user-exits/op"))
			assert.NotContains(t, out, "cycles/op")
			assert.Contains(t, out, "# warning: under QEMU's emulator: counts of instructions are exact, times mean nothing\n")
			return
		}
		assert.Equal(t, []float64{100, 100}, run.Values("BootEntered", "cycles/op"))
		assert.Contains(t, progress, "kapsel: SmallestMemory\n")
		assert.Contains(t, progress, "the kernel's size is not known: ", "its symbols are not beside it")
		assert.Equal(t, []float64{32}, run.Values("SmallestMemory", "KiB"), "an empty page, five tables, boot information, the image's page")
		assert.Equal(t, []float64{2, 2}, run.Values("Memop", "user-exits/op"))
		assert.Equal(t, []float64{0, 0}, run.Values("Empty", "user-exits/op"))
		assert.Equal(t, []float64{1, 1}, run.Values("BootFirstOutput", "user-exits/op"), "the first byte")
		for _, stage := range stageNames {
			assert.Len(t, run.Values(stage, "ns/op"), 2)
			for _, pages := range run.Values(stage, "pages/op") {
				assert.GreaterOrEqual(t, pages, 5.0, "tables, boot information, code")
			}
		}
		assert.Greater(t, run.Values("BootCreated", "copied-bytes/op")[0], 1000.0, "the code")
	})
}

func TestBenchChoosesPaths(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, accel string) {
		out, progress := runBench(t, 0, "--accel", accel, "--run", "^(Memop|BootMain)$", benchImage(t, "170"))
		run, err := bench.Read([]byte(out))
		require.NoError(t, err)
		assert.Equal(t, []string{"BootMain", "Memop"}, run.Names())
		assert.NotContains(t, progress, "Empty")
		assert.NotContains(t, progress, "SmallestMemory")

		_, said := runBench(t, statusUsage, "--accel", accel, "--run", "Nothing", benchImage(t, "170"))
		assert.Contains(t, said, "no path of the image has a name that --run Nothing fits")
	})
}

func TestBenchFilesAndPlots(t *testing.T) {
	t.Parallel()
	if err := qemuMissing(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	asJSON, plots := filepath.Join(dir, "out.json"), filepath.Join(dir, "plots")
	image, run := benchImage(t, "170"), "--run=Memop"
	out, _ := runBench(t, 0, "--accel", "qemu", run, "--json", "-o", asJSON, "--plot", plots, image)
	assert.Empty(t, out)
	assert.FileExists(t, filepath.Join(plots, "Memop.svg"))
	asText := file(t, "old.txt", nil)
	runBench(t, 0, "--accel", "qemu", run, "-o", asText, image)

	out, _ = runBench(t, 0, "--compare", asText, asJSON)
	assert.Regexp(t, `Memop +150 +± 0% +150 +± 0% +0\.00% +\(n=1\)`, out)

	out, _ = runBench(t, 0, "--accel", "qemu", run, "--table", image)
	assert.Regexp(t, `\npath +instructions/op +min-instructions +p99-instructions +boots\nMemop +150 +150 +880 +1`, out)
}

// The counts are compared with the golden file, which --update writes.
func TestBenchGolden(t *testing.T) {
	t.Parallel()
	if err := qemuMissing(); err != nil {
		t.Skip(err)
	}
	golden := filepath.Join(t.TempDir(), "golden.txt")
	against := func(status int, memop string, more ...string) (string, string) {
		return runBench(t, status, append([]string{"--golden", golden, benchImage(t, memop)}, more...)...)
	}
	_, said := against(statusUsage, "120")
	assert.Contains(t, said, "golden.txt\": no such file or directory: make it with --update")
	against(0, "120", "--update")
	text, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^Memop +100 +instructions$`, string(text))

	out, _ := against(0, "122")
	assert.Contains(t, out, "5 counts, all within 2 % of "+strconv.Quote(golden))
	out, said = against(statusWorse, "123")
	assert.Equal(t, "FAIL Memop: 103 instructions, golden 100: +3.0 %\n", out)
	assert.Contains(t, said, "kapsel: 1 of 5 counts do not stand as in "+strconv.Quote(golden))
	assert.Contains(t, said, "--update")
	require.NoError(t, os.WriteFile(golden, bytes.Replace(text, []byte("accel: qemu "), []byte("accel: qemu 1."), 1), 0o644))
	out, _ = against(0, "122")
	assert.NotContains(t, out, "counted on")
	out, _ = against(statusWorse, "123")
	assert.Regexp(t, `^counted on qemu [^,]+, .*, the file on qemu 1\.`, out)
	require.NoError(t, os.WriteFile(golden, text, 0o644))
	out, _ = against(0, "100")
	assert.Contains(t, out, "note Memop: 80 instructions, golden 100: -20.0 %\n1 of 5 counts became better")
}

func TestBenchFailures(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, accel string) {
		for _, tt := range []struct {
			name    string
			code    []byte
			timeout string
			status  int
			want    string
		}{
			{"it ends early", bytes.Join([][]byte{codePrint("bench Empty 1 unit=ticks 1*1\n"), codeOut(abi.PortDebugExit, abi.ExitBadBoot)}, nil), "50s", statusFailed,
				`the guest ended with status 102: the image ended before "bench done", after 1 paths`},
			{"it hangs", codeSpin, "2s", statusTimeout, "ended by --timeout after 2s"},
			{"a line that nobody understands", bytes.Join([][]byte{codePrint("bench Empty fast\nbench done\n"), codeSpin}, nil), "50s", statusFailed,
				`line 1 of the console, "bench Empty fast"`},
			{"no base", bytes.Join([][]byte{codePrint("bench Memop 1 unit=ticks 1*1\nbench done\n"), codeSpin}, nil), "50s", statusFailed,
				"Memop needs the path Empty"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				out, said := runBench(t, tt.status, "--accel", accel, "--timeout", tt.timeout, imageFile(t, tt.code))
				assert.Empty(t, out)
				assert.Contains(t, said, tt.want)
			})
		}
	})
}

// The minimal board is counted under QEMU alone but for its memory, and only where it is.
func TestBenchWithoutTheMinimalBoard(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, accel string) {
		out, _ := runBench(t, 0, "--accel", accel, "--run", "Minimal|Memop", benchImage(t, "170"))
		const warning = "# warning: the minimal board was not measured: "
		if accel == "qemu" {
			assert.Regexp(t, warning+`".*minimal/boot\.elf": no such file or directory: scripts/build makes build/minimal/boot\.elf`, out)
		} else {
			assert.NotContains(t, out, warning)
		}
		assert.Regexp(t, `# warning: MinimalMemory was not measured: ".*minimal/minimal\.elf": no such file or directory: scripts/build makes build/minimal/minimal\.elf\n`, out)
	})
}

func TestBenchWithoutTwoTasks(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, accel string) {
		args := []string{"--accel", accel, "--run", "SmallestMemory|Memop", benchImage(t, "170")}
		out, _ := runBench(t, 0, args...)
		assert.Regexp(t, `# warning: SmallestMemory was not measured: ".*two\.elf": no such file or directory: scripts/build makes build/two\.elf; or name one with --small`, out)
		one := imageFile(t, codePrint("1 exit with code 0\n"), codeExit0)
		_, said := runBench(t, statusFailed, append(args, "--small", one)...)
		assert.Contains(t, said, "with 16 MiB of memory: want 2 tasks that ended well, found 1")
	})
}

// What cannot be read or written is refused before anything boots.
func TestBenchRefusesBeforeTheFirstBoot(t *testing.T) {
	text, missing := file(t, "letter.txt", []byte("a letter\n")), filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no image beside the command", nil, "bench.elf\": no such file or directory: scripts/build makes build/bench.elf"},
		{"a missing golden file", []string{"--golden", missing}, "--golden: " + strconv.Quote(missing) + ": no such file or directory: make it with --update"},
		{"a folder as golden file", []string{"--golden", t.TempDir()}, "is a directory"},
		{"another file as golden file", []string{"--golden", text}, "--golden " + strconv.Quote(text) + ": line 1: want a name, a number and a unit, found \"a letter\"\n"},
		{"an empty golden file", []string{"--golden", file(t, "empty", nil)}, "no counts in it: make them with --update"},
		{"a golden file without end", []string{"--golden", "/dev/zero"}, "--golden: \"/dev/zero\": a device: want a file or a pipe"},
		{"an image without end", []string{"--small", "/dev/zero"}, "--small: \"/dev/zero\": a device: want a file or a pipe"},
		{"a golden file in no folder", []string{"--golden", filepath.Join(missing, "g"), "--update"}, "--golden: open "},
		{"a file as folder of plots", []string{"--plot", text}, "--plot: mkdir " + strconv.Quote(text) + ": not a directory"},
		{"plots in a file", []string{"--plot", filepath.Join(text, "plots")}, "--plot: mkdir "},
		{"a missing image with two tasks", []string{"--small", missing}, "--small: " + strconv.Quote(missing) + ": no such file or directory: scripts/build makes build/two.elf"},
		{"another file as image with two tasks", []string{"--small", text}, "--small: " + strconv.Quote(text) + ": not an ELF file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.args != nil {
				tt.args = append(tt.args, benchImage(t, "170"))
			}
			out, said := runBench(t, statusUsage, tt.args...)
			assert.Empty(t, out)
			assertOneLine(t, said, tt.want)
		})
	}
}

func TestUncounted(t *testing.T) {
	none, ok := vmm.Count{Err: os.ErrPermission}, vmm.Count{N: 5}
	mark := vmm.Mark{Instructions: none, Exits: ok}
	assert.Equal(t, []string{"guest instructions are not counted: permission denied"}, uncounted([]vmm.Mark{mark, mark}))
	assert.Empty(t, uncounted([]vmm.Mark{{Instructions: ok, Exits: ok}}))
}

func TestParseBench(t *testing.T) {
	o, err := parseBench(nil, "/b")
	require.NoError(t, err)
	assert.Equal(t, &benchOptions{image: "/b/bench.elf", small: "/b/two.elf", minimal: "/b/minimal/boot.elf", minimalSmall: "/b/minimal/minimal.elf", accel: accelAuto, memory: vmm.DefaultMemory, count: 1,
		run: regexp.MustCompile(""), timeout: benchTimeout}, o)

	o, err = parseBench(strings.Fields("-count 5 --mem 32M x.elf -run ^A -json -o f --plot p --accel kvm --timeout 9s -v"), "/b")
	require.NoError(t, err)
	assert.Equal(t, &benchOptions{image: "x.elf", small: "/b/two.elf", minimal: "/b/minimal/boot.elf", minimalSmall: "/b/minimal/minimal.elf", accel: accelKVM, memory: 32 << 20, count: 5, json: true, out: "f", plot: "p",
		run: regexp.MustCompile("^A"), timeout: 9 * time.Second, verbose: true}, o)

	o, err = parseBench([]string{"--golden", "g"}, "/b")
	require.NoError(t, err)
	assert.Equal(t, accelQEMU, o.accel)

	o, err = parseBench([]string{"--compare", "a", "b"}, "/b")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, []string{o.old, o.new})

	for args, want := range map[string]string{
		"a b":                     `unexpected argument "b"`,
		"--count 0":               "--count 0: want 1 or more",
		"--mem 2048G":             "--mem 2048G: a machine can have at most 1024G",
		"--model --golden g":      "--model measures nothing: --golden, --plot and --count have no meaning with it",
		"--model --count 2":       "--model measures nothing",
		"--model --accel kvm":     "--model wants a log of QEMU's emulator: --accel kvm has none",
		"--golden g --mem 8M":     "--golden compares counts with the default memory: --mem sets another",
		"--timeout 0s":            "--timeout 0s: want a positive time",
		"--run (":                 "--run: error parsing regexp",
		"--json --table":          "want one of them",
		"--update":                "--update writes the file that --golden names",
		"--golden g --accel kvm":  "--accel kvm has none",
		"--golden g --run A":      "--run leaves some out",
		"--compare a":             "two files, the old results and the new ones, found 1",
		"--compare a b --count 2": ": --count has no meaning with it",
		"--compare a b -o x":      ": -o has no meaning with it",
		"--count x":               "--count x: want a whole number as 10",
		"--json=x":                "--json=x: want true or false, or --json alone",
		"--fast":                  "no flag --fast",
	} {
		_, err := parseBench(strings.Fields(args), "/b")
		assert.ErrorContains(t, err, want, args)
	}
}

func TestBenchCompareRefuses(t *testing.T) {
	good := file(t, "good.txt", []byte("BenchmarkX 1 5 cycles/op\n"))
	_, said := runBench(t, statusUsage, "--compare", good, file(t, "text", []byte("a letter\n")))
	assertOneLine(t, said, "text\": no results in it")
	_, said = runBench(t, statusUsage, "--compare", filepath.Join(t.TempDir(), "none"), good)
	assertOneLine(t, said, "none\": no such file")
	_, said = runBench(t, statusUsage, "--compare", good, "/dev/zero")
	assertOneLine(t, said, "\"/dev/zero\": a device: want a file or a pipe")
}

// What cannot be compared is said, with file, line and value, in place of an empty table.
func TestBenchCompareNamesWhatIsNoNumber(t *testing.T) {
	good := file(t, "good.txt", []byte("accel: kvm\nBenchmarkA 1 5 cycles/op\n"))
	for _, value := range []string{"NaN", "Inf", "-Inf", "1e308", "1e999"} {
		bad := file(t, "bad file.txt", []byte("accel: kvm\nBenchmarkA 1 "+value+" cycles/op\n"))
		for _, files := range [][]string{{good, bad}, {bad, good}} {
			out, said := runBench(t, statusUsage, append([]string{"--compare"}, files...)...)
			assert.Empty(t, out)
			assertOneLine(t, said, strconv.Quote(bad)+": line 2: ")
			assert.Contains(t, said, "\"BenchmarkA 1 "+value+" cycles/op\"\n")
		}
	}
}
