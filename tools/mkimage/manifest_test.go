package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func TestManifest(t *testing.T) {
	const head = "package main\n\n"
	const entry = "runtime.entry"
	for _, tt := range []struct {
		name   string
		source string
		want   manifest
		err    string // behind the folder's name
	}{
		{"nothing said", "", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, nil, nil}, ""},
		{"all said", "//kapsel:stack 8192\n//kapsel:heap 0\n//kapsel:flash 4096\n", manifest{8192, 0, 4096, entry, 0, 0, nil, nil}, ""},
		{"hexadecimal", "//kapsel:heap 0x1000\n", manifest{16 << 10, 4096, 0, entry, 0, 0, nil, nil}, ""},
		{"rounded up to what the hardware needs", "//kapsel:stack 2049\n//kapsel:flash 1\n", manifest{2064, 64 << 10, 4096, entry, 0, 0, nil, nil}, ""},
		{"spaces", "//kapsel:stack   2048 \n", manifest{2048, 64 << 10, 0, entry, 0, 0, nil, nil}, ""},
		{"tabs", "//kapsel:stack\t2048\t\n//kapsel:permit\t1\t0\n", manifest{2048, 64 << 10, 0, entry, 0, 0, []tbf.Permission{{Driver: 1, Mask: 1}}, nil}, ""},
		{"within a group of comments", "// Words.\n//\n//kapsel:stack 2048\n", manifest{2048, 64 << 10, 0, entry, 0, 0, nil, nil}, ""},
		{"a comment that only looks like one", "// kapsel:stack 32\n", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, nil, nil}, ""},
		{"an entry", "//kapsel:entry first\n", manifest{16 << 10, 64 << 10, 0, "main.first", 0, 0, nil, nil}, ""},
		{"an identity", "//kapsel:shortid 0xffffffff\n//kapsel:version 2\n", manifest{16 << 10, 64 << 10, 0, entry, 1<<32 - 1, 2, nil, nil}, ""},
		{"permissions", "//kapsel:permit 1 0 1\n//kapsel:permit 0x10000 64\n//kapsel:permit 1 127 63\n", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, []tbf.Permission{
			{Driver: 1, Mask: 1<<63 | 3}, {Driver: 0x10000, Offset: 1, Mask: 1}, {Driver: 1, Offset: 1, Mask: 1 << 63}}, nil}, ""},
		{"storage", "//kapsel:storage write=1 read=1,2 modify=0x1\n", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, nil,
			&tbfbuild.Storage{WriteID: 1, Read: []uint32{1, 2}, Modify: []uint32{1}}}, ""},
		{"storage that is only read", "//kapsel:storage read=0xffffffff\n", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, nil,
			&tbfbuild.Storage{Read: []uint32{1<<32 - 1}}}, ""},
		{"the largest number", "//kapsel:heap 1073741823\n", manifest{16 << 10, 1<<30 - 1, 0, entry, 0, 0, nil, nil}, ""},

		{"no number", "//kapsel:stack\n", manifest{}, "/main.go:3:1: //kapsel:stack: want a number of bytes from 2048, which the smallest task needs, to 1 GiB - 1"},
		{"a unit", "\n//kapsel:heap 64K\n", manifest{}, "/main.go:4:1: //kapsel:heap 64K: want a number of bytes below 1 GiB"},
		{"a negative number", "//kapsel:heap -1\n", manifest{}, "/main.go:3:1: //kapsel:heap -1: want a number of bytes below 1 GiB"},
		{"too large", "//kapsel:heap 1073741824\n", manifest{}, "/main.go:3:1: //kapsel:heap 1073741824: want a number of bytes below 1 GiB"},
		{"no stack", "//kapsel:stack 0\n", manifest{}, "/main.go:3:1: //kapsel:stack 0: want a number of bytes from 2048, which the smallest task needs, to 1 GiB - 1"},
		{"a stack that is too small", "//kapsel:stack 2047\n", manifest{}, "/main.go:3:1: //kapsel:stack 2047: want a number of bytes from 2048, which the smallest task needs, to 1 GiB - 1"},
		{"flash that no image holds", "//kapsel:flash 268435456\n", manifest{}, "/main.go:3:1: //kapsel:flash 268435456: want a number of bytes below 256 MiB, the largest size of an image"},
		{"an identity that means none", "//kapsel:shortid 0\n", manifest{}, "/main.go:3:1: //kapsel:shortid 0: want a number of 32 bits, not 0, which means none"},
		{"an identity that is too large", "//kapsel:shortid 0x100000000\n", manifest{}, "/main.go:3:1: //kapsel:shortid 0x100000000: want a number of 32 bits, not 0, which means none"},
		{"a driver without commands", "//kapsel:permit 1\n", manifest{}, "/main.go:3:1: //kapsel:permit 1: want the number of a driver, and those of its commands behind it, of 32 bits each"},
		{"a command by name", "//kapsel:permit 1 write\n", manifest{}, "/main.go:3:1: //kapsel:permit 1 write: want the number of a driver, and those of its commands behind it, of 32 bits each"},
		{"a command that is too large", "//kapsel:permit 1 0x100000000\n", manifest{}, "/main.go:3:1: //kapsel:permit 1 0x100000000: want the number of a driver, and those of its commands behind it, of 32 bits each"},
		{"permissions that do not fit", "//kapsel:permit 1 0 64 128 192 256 320 384 448 512\n", manifest{}, ": the //kapsel:permit lines make 9 entries, one for each driver and each 64 commands of it; the object's header has room for 8"},
		{"storage of nothing", "//kapsel:storage\n", manifest{}, "/main.go:3:1: //kapsel:storage: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"storage of nobody", "//kapsel:storage write=0\n", manifest{}, "/main.go:3:1: //kapsel:storage write=0: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"storage under two identifiers", "//kapsel:storage write=1,2\n", manifest{}, "/main.go:3:1: //kapsel:storage write=1,2: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"storage by an unknown name", "//kapsel:storage owner=1\n", manifest{}, "/main.go:3:1: //kapsel:storage owner=1: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"storage without a list", "//kapsel:storage write\n", manifest{}, "/main.go:3:1: //kapsel:storage write: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"a list that ends in a comma", "//kapsel:storage write=1 read=1,\n", manifest{}, "/main.go:3:1: //kapsel:storage write=1 read=1,: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"a list that stands twice", "//kapsel:storage read=1 read=2\n", manifest{}, "/main.go:3:1: //kapsel:storage read=1 read=2: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"an identifier that is too large", "//kapsel:storage write=0x100000000\n", manifest{}, "/main.go:3:1: //kapsel:storage write=0x100000000: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"a list that is too long", "//kapsel:storage read=1,2,3,4,5,6,7,8,9\n", manifest{}, "/main.go:3:1: //kapsel:storage read=1,2,3,4,5,6,7,8,9: want write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0"},
		{"storage and permissions that do not fit", "//kapsel:storage write=1 read=1 modify=1\n//kapsel:permit 1 0 64 128 192 256 320 384\n", manifest{}, ": beside //kapsel:storage the object's header has room for 6 entries of //kapsel:permit, one for each driver and each 64 commands of it; want no more, not 7"},
		{"a version in words", "//kapsel:version 1.2\n", manifest{}, "/main.go:3:1: //kapsel:version 1.2: want a number of 32 bits"},
		{"an unknown word", "//kapsel:ram 4096\n", manifest{}, "/main.go:3:1: //kapsel:ram 4096: no directive has this word, want one of stack, heap, flash, shortid, version, permit, storage, entry"},
		{"two numbers", "//kapsel:stack 4096 2\n", manifest{}, "/main.go:3:1: //kapsel:stack 4096 2: want a number of bytes from 2048, which the smallest task needs, to 1 GiB - 1"},
		{"an entry elsewhere", "//kapsel:entry task.first\n", manifest{}, "/main.go:3:1: //kapsel:entry task.first: want the name of a function of package main"},
		{"no word", "//kapsel:\n", manifest{}, "/main.go:3:1: //kapsel:: no directive has this word, want one of stack, heap, flash, shortid, version, permit, storage, entry"},
		{"not Go", "func {\n", manifest{}, "/main.go:3:6: expected 'IDENT', found '{'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, write(dir, "main.go", head+tt.source))
			got, err := readManifest([]string{filepath.Join(dir, "main.go")})
			if tt.err != "" {
				assert.EqualError(t, err, dir+tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestManifestOfSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.go"), filepath.Join(dir, "b.go")
	require.NoError(t, write(dir, "a.go", "package main\n\n//kapsel:stack 4096\n"))
	require.NoError(t, write(dir, "b.go", "package main\n\n//kapsel:heap 128\n"))
	got, err := readManifest([]string{a, b})
	require.NoError(t, err)
	assert.Equal(t, manifest{4096, 128, 0, "runtime.entry", 0, 0, nil, nil}, got)
}

func TestManifestRefusesASecondDirective(t *testing.T) {
	for _, tt := range []struct{ name, first, second string }{
		{"another value", "//kapsel:stack 4096", "//kapsel:stack 8192"},
		{"the same value", "//kapsel:heap 4096", "//kapsel:heap 4096"},
		{"flash", "//kapsel:flash 4096", "//kapsel:flash 0"},
		{"shortid", "//kapsel:shortid 1", "//kapsel:shortid 2"},
		{"version", "//kapsel:version 0", "//kapsel:version 1"},
		{"entry", "//kapsel:entry first", "//kapsel:entry second"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a.go"), filepath.Join(dir, "b.go")
			word, _, _ := strings.Cut(tt.first, " ")
			require.NoError(t, write(dir, "a.go", "package main\n\n"+tt.first+"\n"))
			require.NoError(t, write(dir, "b.go", "package main\n\n\n"+tt.second+"\n"))
			_, err := readManifest([]string{a, b})
			assert.EqualError(t, err, b+":4:1: "+tt.second+": a second "+word+", the first is at "+a+":3:1: want only one of them")
			require.NoError(t, write(dir, "a.go", "package main\n\n"+tt.first+"\n"+tt.second+"\n"))
			_, err = readManifest([]string{a})
			assert.EqualError(t, err, a+":4:1: "+tt.second+": a second "+word+", the first is at "+a+":3:1: want only one of them")
		})
	}
}

// Directives count in the files that the task is built from, and in no others.
func TestManifestIsOfTheTasksFiles(t *testing.T) {
	dir := newModule(t, map[string]string{
		"guest/tasks/hello/small.go":      "//go:build kapsel_small\n\npackage main\n\n//kapsel:stack 4096\n",
		"guest/tasks/hello/main_test.go":  "//go:build kapsel_task\n\npackage main\n\n//kapsel:heap 0\n",
		"guest/tasks/hello/main_arm64.go": "//go:build kapsel_task\n\npackage main\n\n//kapsel:version 9\n",
	})
	t.Chdir(dir)
	tc, err := findToolchain()
	require.NoError(t, err)
	for _, tt := range []struct {
		tags string
		want manifest
	}{
		{"", manifest{stack: 16 << 10, heap: 64 << 10, entry: "runtime.entry"}},
		{"kapsel_small", manifest{stack: 4096, heap: 64 << 10, entry: "runtime.entry"}},
	} {
		t.Run("tags "+tt.tags, func(t *testing.T) {
			tc.tags = tt.tags
			p, err := tc.mainPackage("task", "./guest/tasks/hello", taskTags, inTask)
			require.NoError(t, err)
			got, err := readManifest(p.paths())
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}
