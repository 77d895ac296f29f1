package tab_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tab"
	"kapsel/guest/kernel/tbf/tab/tabtest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// object64 is an object that says that it is a 64-bit task.
func object64(t testing.TB) string {
	t.Helper()
	object, err := tbfbuild.Build(tbfbuild.Spec{Name: "blink", Binary: []byte("code"), ABI64: true})
	require.NoError(t, err)
	return string(object)
}

func TestObject(t *testing.T) {
	arm := tabtest.File("cortex-m4.0x00030000.0x20008000.tbf", "arm")
	for _, tt := range []struct {
		name       string
		members    []tabtest.Member
		want, from string
	}{
		{"as elf2tab makes it", []tabtest.Member{tabtest.Metadata, tabtest.File("x86.tbf", "x")}, "x", "x86.tbf"},
		{"among other architectures", []tabtest.Member{tabtest.Metadata, arm, tabtest.File("rv32imc.tbf", "rv"), tabtest.File("i386.tbf", "x")}, "x", "i386.tbf"},
		{"at fixed addresses", []tabtest.Member{tabtest.Metadata, arm, tabtest.File("i686.0x00150080.0x00210000.tbf", "x")}, "x", "i686.0x00150080.0x00210000.tbf"},
		{"the first of several", []tabtest.Member{tabtest.File("i486.tbf", "x"), tabtest.File("x86.tbf", "y")}, "x", "i486.tbf"},
		{"made by tar in a folder", []tabtest.Member{{Name: "./", Header: tar.Header{Typeflag: tar.TypeDir}}, tabtest.File("./x86.tbf", "x")}, "x", "x86.tbf"},
		{"a 64-bit task, whatever its name", []tabtest.Member{tabtest.Metadata, arm, tabtest.File("hello.tbf", object64(t))}, object64(t), "hello.tbf"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tabtest.Archive(t, tt.members...)
			assert.True(t, tab.Is(b))
			from, object, err := tab.Object(b)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(object))
			assert.Equal(t, tt.from, from)
		})
	}
}

// TestIs: an object whose code looks like an archive's header is an object.
func TestIs(t *testing.T) {
	object := make([]byte, 512)
	copy(object[257:], "ustar")
	assert.True(t, tab.Is(object))
	assert.False(t, tab.Is(object[:261]))
	object[0] = tbf.Version
	assert.False(t, tab.Is(object))
	assert.False(t, tab.Is(nil))
}

func TestObjectRefuses(t *testing.T) {
	const want = "want an object for 32-bit x86 (x86.tbf, i386.tbf, i486.tbf, i586.tbf, i686.tbf), or one of a 64-bit task; found "
	const more = " bytes, more than the archive: it was cut off, or made of sparse files"
	link := func(kind byte) tabtest.Member {
		return tabtest.Member{Name: "x86.tbf", Header: tar.Header{Typeflag: kind, Linkname: "/dev/zero"}}
	}
	many := make([]tabtest.Member, 65)
	for i := range many {
		many[i] = tabtest.File(fmt.Sprintf("rv%d.tbf", i), "rv")
	}
	whole := tabtest.Archive(t, tabtest.Metadata, tabtest.File("x86.tbf", strings.Repeat("x", 5000)))
	for _, tt := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"other architectures", tabtest.Archive(t, tabtest.Metadata, tabtest.File("cortex-m0.tbf", "arm"), tabtest.File("rv32imac.tbf", "rv")), want + `"cortex-m0.tbf", "rv32imac.tbf"`},
		{"no object", tabtest.Archive(t, tabtest.Metadata), want + "none"},
		{"no .tbf file", tabtest.Archive(t, tabtest.File("x86.elf", "x"), tabtest.File("x86", "x")), want + "none"},
		{"a longer name of an architecture", tabtest.Archive(t, tabtest.File("x86_64.tbf", "x"), tabtest.File("x860.tbf", "x")), want + `"x86_64.tbf", "x860.tbf"`},
		{"in a folder", tabtest.Archive(t, tabtest.File("sub/x86.tbf", "x"), tabtest.File("../x86.tbf", "x"), tabtest.File("/x86.tbf", "x")), want + `"sub/x86.tbf", "../x86.tbf", "/x86.tbf"`},
		{"a name for a terminal", tabtest.Archive(t, tabtest.File("\x1b[2J.tbf", "x")), want + `"\x1b[2J.tbf"`},
		{"a long name", tabtest.Archive(t, tabtest.File(strings.Repeat("n", 5000)+".tbf", "x")), want + `"` + strings.Repeat("n", 64) + `"`},
		{"an empty object", tabtest.Archive(t, tabtest.File("x86.tbf", "")), `"x86.tbf" is empty`},
		{"a symbolic link", tabtest.Archive(t, link(tar.TypeSymlink)), `"x86.tbf" is no plain file`},
		{"a hard link", tabtest.Archive(t, link(tar.TypeLink)), `"x86.tbf" is no plain file`},
		{"a device", tabtest.Archive(t, link(tar.TypeChar)), `"x86.tbf" is no plain file`},
		{"many files", tabtest.Archive(t, many...), "an archive of more than 64 files, no .tab file is"},
		{"a sparse file", sparse(t, "x86.tbf", 1<<40, 1), `"x86.tbf" has 1099511627776` + more},
		{"many sparse files", sparse(t, "rv32.tbf", 3000, 10), `"rv32.tbf" has 3000` + more}, // the archive has 16384
		{"cut off in the object", whole[:len(whole)-2048-2000], `"x86.tbf" has 5000` + more},
		{"cut off in a header", whole[:1024+200], "want a tar archive with objects for each architecture (.tab): unexpected EOF"},
		{"empty", nil, "want a tar archive with objects for each architecture (.tab): EOF"},
		{"an object", []byte(object64(t)), "want a tar archive with objects for each architecture (.tab): archive/tar: invalid tar header"},
		{"compressed", []byte("\x1f\x8b\x08\x00" + strings.Repeat("z", 2000)), "want a tar archive with objects for each architecture (.tab): archive/tar: invalid tar header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tab.Object(tt.archive)
			assert.EqualError(t, err, tt.want)
		})
	}
}

// sparse is an archive of files of so many bytes, which has none of them (GNU tar, "Sparse formats",
// 0.1). archive/tar writes no such records, but does not mind others.
func sparse(t testing.TB, name string, size, n int) []byte {
	t.Helper()
	records := map[string]string{
		"XNU.sparse.size": fmt.Sprint(size), "XNU.sparse.numblocks": "1", "XNU.sparse.map": fmt.Sprintf("%d,0", size),
	}
	var members []tabtest.Member
	for range n {
		members = append(members, tabtest.Member{Name: name, Header: tar.Header{Format: tar.FormatPAX, PAXRecords: records}})
	}
	return bytes.ReplaceAll(tabtest.Archive(t, members...), []byte("XNU.sparse"), []byte("GNU.sparse"))
}

// FuzzObject: whatever the archive, what comes out is part of it, and so is bounded.
func FuzzObject(f *testing.F) {
	f.Add(tabtest.Archive(f, tabtest.Metadata, tabtest.File("cortex-m4.tbf", "arm"), tabtest.File("x86.tbf", "x")))
	f.Add(tabtest.Archive(f, tabtest.File("hello.tbf", object64(f))))
	f.Add(tabtest.Archive(f, tabtest.Member{Name: "x86.tbf", Header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "y"}}))
	f.Add(sparse(f, "x86.tbf", 1<<40, 1))
	f.Add(tabtest.Archive(f, tabtest.Member{Name: "x86.tbf", Content: "x", Header: tar.Header{Format: tar.FormatPAX, PAXRecords: map[string]string{"KAPSEL.x": "y"}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, object, err := tab.Object(b)
		if err != nil {
			assert.Less(t, len(err.Error()), 20_000)
			return
		}
		assert.LessOrEqual(t, len(object), len(b))
		assert.True(t, strings.HasSuffix(name, ".tbf"))
	})
}
