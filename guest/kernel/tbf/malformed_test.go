package tbf_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// malformed are objects with one fault each, and what Parse says of them.
var malformed = []struct {
	name   string
	object []byte
	want   tbf.Error
}{
	{"empty", nil, tbf.Error{Field: tbf.FieldObject, Rule: tbf.AtLeast, Got: 0, Want: 16}},
	{"15 bytes", make([]byte, 15), tbf.Error{Field: tbf.FieldObject, Rule: tbf.AtLeast, Got: 15, Want: 16}},
	{"zeros", make([]byte, 64), tbf.Error{Field: tbf.FieldVersion, Rule: tbf.Equal, Got: 0, Want: 2}},
	{"version 1", mutate(handmade, 0, 1), tbf.Error{Field: tbf.FieldVersion, Rule: tbf.Equal, Got: 1, Want: 2}},
	{"header shorter than its base", header(12, 64), tbf.Error{Field: tbf.FieldHeaderSize, Rule: tbf.AtLeast, Offset: 2, Got: 12, Want: 16}},
	{"header of odd size", header(18, 64), tbf.Error{Field: tbf.FieldHeaderSize, Rule: tbf.MultipleOf, Offset: 2, Got: 18, Want: 4}},
	{"object smaller than its header", header(64, 32), tbf.Error{Field: tbf.FieldTotalSize, Rule: tbf.AtLeast, Offset: 4, Got: 32, Want: 64}},
	{"cut short", handmade[:127], tbf.Error{Field: tbf.FieldTotalSize, Rule: tbf.AtMost, Offset: 4, Got: 128, Want: 127}},
	{"4 GiB object", header(16, 0xffffffff), tbf.Error{Field: tbf.FieldTotalSize, Rule: tbf.AtMost, Offset: 4, Got: 0xffffffff, Want: 4096}},
	{"checksum", mutate(handmade, 12, 0x9f), tbf.Error{Field: tbf.FieldChecksum, Rule: tbf.Equal, Offset: 12, Got: 0x39779f, Want: 0x39779e}},
	{"a bit of the header flipped", mutate(handmade, 60, 'Z'), tbf.Error{Field: tbf.FieldChecksum, Rule: tbf.Equal, Offset: 12, Got: 0x39779e, Want: 0x3977be}},

	{"element longer than the header", assemble(raw(3, 5, "abcd")), tbf.Error{Field: tbf.FieldElement, Rule: tbf.AtMost, Offset: 16, Got: 25, Want: 24}},
	{"element of 64 KiB", assemble(raw(3, 0xffff, "")), tbf.Error{Field: tbf.FieldElement, Rule: tbf.AtMost, Offset: 16, Got: 0x10013, Want: 20}},
	{"second element too long", assemble(element(0x7777, "abcd"), raw(3, 1, "")), tbf.Error{Field: tbf.FieldElement, Rule: tbf.AtMost, Offset: 24, Got: 29, Want: 28}},

	{"Main too short", assemble(element(tbf.TypeMain, "12345678")), tbf.Error{Field: tbf.FieldMain, Rule: tbf.Equal, Offset: 18, Got: 8, Want: 12}},
	{"Program too long", assemble(element(tbf.TypeProgram, "123456789012345678901")), tbf.Error{Field: tbf.FieldProgram, Rule: tbf.Equal, Offset: 18, Got: 21, Want: 20}},
	{"second Main too short", assemble(main12(0, 0, 1), element(tbf.TypeMain, "1234")), tbf.Error{Field: tbf.FieldMain, Rule: tbf.Equal, Offset: 34, Got: 4, Want: 12}},
	{"regions not whole", assemble(element(tbf.TypeWriteable, "123456789")), tbf.Error{Field: tbf.FieldWriteable, Rule: tbf.MultipleOf, Offset: 18, Got: 9, Want: 8}},
	{"fixed addresses too short", assemble(element(tbf.TypeFixedAddresses, "1234567")), tbf.Error{Field: tbf.FieldFixedAddresses, Rule: tbf.Equal, Offset: 18, Got: 7, Want: 8}},
	{"kernel version too short", assemble(element(tbf.TypeKernelVersion, "12")), tbf.Error{Field: tbf.FieldKernelVersion, Rule: tbf.Equal, Offset: 18, Got: 2, Want: 4}},
	{"short id too long", assemble(element(tbf.TypeShortID, "12345")), tbf.Error{Field: tbf.FieldShortID, Rule: tbf.Equal, Offset: 18, Got: 5, Want: 4}},
	{"ABI flags empty", assemble(element(tbf.TypeABI, "")), tbf.Error{Field: tbf.FieldABI, Rule: tbf.Equal, Offset: 18, Got: 0, Want: 4}},

	{"permissions without a count", assemble(element(tbf.TypePermissions, "\x01")), tbf.Error{Field: tbf.FieldPermissions, Rule: tbf.AtLeast, Offset: 18, Got: 1, Want: 2}},
	{"permissions fewer than counted", assemble(element(tbf.TypePermissions, "\x02\x00"+sixteen)), tbf.Error{Field: tbf.FieldPermissions, Rule: tbf.AtLeast, Offset: 18, Got: 18, Want: 34}},
	{"65535 permissions", assemble(element(tbf.TypePermissions, "\xff\xff"+sixteen)), tbf.Error{Field: tbf.FieldPermissions, Rule: tbf.AtLeast, Offset: 18, Got: 18, Want: 2 + 16*65535}},
	{"storage too short", assemble(element(tbf.TypeStorage, "12345")), tbf.Error{Field: tbf.FieldStorage, Rule: tbf.AtLeast, Offset: 18, Got: 5, Want: 6}},
	{"storage with 9 read ids", assemble(element(tbf.TypeStorage, "1234\x09\x00")), tbf.Error{Field: tbf.FieldStorageIDs, Rule: tbf.AtMost, Offset: 24, Got: 9, Want: 8}},
	{"storage without modify list", assemble(element(tbf.TypeStorage, "1234\x01\x00aaaa")), tbf.Error{Field: tbf.FieldStorage, Rule: tbf.AtLeast, Offset: 18, Got: 10, Want: 12}},
	{"storage modify ids cut", assemble(element(tbf.TypeStorage, "1234\x00\x00\x01\x00")), tbf.Error{Field: tbf.FieldStorage, Rule: tbf.AtLeast, Offset: 18, Got: 8, Want: 12}},
	{"storage with 65535 modify ids", assemble(element(tbf.TypeStorage, "1234\x00\x00\xff\xff")), tbf.Error{Field: tbf.FieldStorageIDs, Rule: tbf.AtMost, Offset: 26, Got: 65535, Want: 8}},

	{"name with an escape", assemble(element(tbf.TypeName, "a\x1b[2J")), tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: 21, Got: 0x1b}},
	{"name with a NUL", assemble(element(tbf.TypeName, "ab\x00")), tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: 22, Got: 0}},
	{"name with DEL", assemble(element(tbf.TypeName, "\x7f")), tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: 20, Got: 0x7f}},
	{"name with a C1 control", assemble(element(tbf.TypeName, "\xc2\x9b")), tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: 20, Got: 0xc2}},
	{"name that is not UTF-8", assemble(element(tbf.TypeName, "\xff")), tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: 20, Got: 0xff}},
	{"name with half a character", assemble(element(tbf.TypeName, "a\xe2\x82")), tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: 21, Got: 0xe2}},

	{"binary ends outside", assemble(program20(0, 0, 0, 0x1000)), tbf.Error{Field: tbf.FieldBinaryEnd, Rule: tbf.AtMost, Offset: 32, Got: 0x1000, Want: 40 + tail}},
	{"protected region behind the binary", assemble(program20(0, 8, 0, 44)), tbf.Error{Field: tbf.FieldProtectedSize, Rule: tbf.AtMost, Offset: 24, Got: 48, Want: 44}},
	{"binary ends inside the header", assemble(program20(0, 0, 0, 4)), tbf.Error{Field: tbf.FieldProtectedSize, Rule: tbf.AtMost, Offset: 24, Got: 40, Want: 4}},
	{"protected region overflows", assemble(main12(0, 0xfffffff0, 0)), tbf.Error{Field: tbf.FieldProtectedSize, Rule: tbf.AtMost, Offset: 24, Got: 0x100000010, Want: 32 + tail}},
	{"init function in the trailer", assemble(main12(7, 8, 0)), tbf.Error{Field: tbf.FieldEntry, Rule: tbf.AtLeast, Offset: 20, Got: 39, Want: 40}},
	{"init function behind the binary", assemble(program20(4, 0, 0, 44)), tbf.Error{Field: tbf.FieldEntry, Rule: tbf.Below, Offset: 20, Got: 44, Want: 44}},
	{"init function overflows", assemble(main12(0xffffffff, 0, 0)), tbf.Error{Field: tbf.FieldEntry, Rule: tbf.Below, Offset: 20, Got: 0x10000001f, Want: 32 + tail}},
	{"empty binary", assemble(program20(0, 0, 0, 40)), tbf.Error{Field: tbf.FieldEntry, Rule: tbf.Below, Offset: 20, Got: 40, Want: 40}},

	{"region over the header", assemble(main12(0, 0, 0), region(0, 8)), tbf.Error{Field: tbf.FieldRegionStart, Rule: tbf.AtLeast, Offset: 36, Got: 0, Want: 44}},
	{"region behind the binary", assemble(main12(0, 0, 0), region(44, tail+1)), tbf.Error{Field: tbf.FieldRegionEnd, Rule: tbf.AtMost, Offset: 40, Got: 44 + tail + 1, Want: 44 + tail}},
	{"region overflows", assemble(main12(0, 0, 0), region(0xfffffff0, 0x20)), tbf.Error{Field: tbf.FieldRegionEnd, Rule: tbf.AtMost, Offset: 40, Got: 0x100000010, Want: 44 + tail}},
	{"region without a program", assemble(region(28, 4)), tbf.Error{Field: tbf.FieldRegionEnd, Rule: tbf.AtMost, Offset: 24, Got: 32, Want: 0}},
}

func TestParseMalformed(t *testing.T) {
	for _, c := range malformed {
		t.Run(c.name, func(t *testing.T) {
			o, err := tbf.Parse(c.object)
			assert.Equal(t, c.want, err)
			assert.Equal(t, tbf.Object{}, o, "a bad object is empty")
		})
	}
}

func TestRunnable(t *testing.T) {
	kernel := func(major, minor byte) []byte {
		return element(tbf.TypeKernelVersion, string([]byte{major, 0, minor, 0}))
	}
	disabled := assemble(main12(0, 0, 0), kernel(2, 0))
	disabled[tbf.OffsetFlags] = tbf.FlagSticky
	for _, c := range []struct {
		name   string
		object []byte
		want   tbf.Error
	}{
		{"kernel 2.0", assemble(main12(0, 0, 0), kernel(2, 0)), tbf.Error{}},
		{"kernel 2.3", assemble(main12(0, 0, 0), kernel(2, 3)), tbf.Error{}},
		{"kernel 2.4", assemble(main12(0, 0, 0), kernel(2, 4)), tbf.Error{Field: tbf.FieldKernelMinor, Rule: tbf.AtMost, Offset: 38, Got: 4, Want: 3}},
		{"kernel 1.3", assemble(main12(0, 0, 0), kernel(1, 3)), tbf.Error{Field: tbf.FieldKernelMajor, Rule: tbf.Equal, Offset: 36, Got: 1, Want: 2}},
		{"kernel 3.0", assemble(main12(0, 0, 0), kernel(3, 0)), tbf.Error{Field: tbf.FieldKernelMajor, Rule: tbf.Equal, Offset: 36, Got: 3, Want: 2}},
		{"no kernel version", assemble(main12(0, 0, 0)), tbf.Error{Field: tbf.FieldKernelMajor, Rule: tbf.Present}},
		{"no program", assemble(kernel(2, 0)), tbf.Error{Field: tbf.FieldTask, Rule: tbf.Present}},
		{"disabled", seal(disabled), tbf.Error{Field: tbf.FieldEnabled, Rule: tbf.Equal, Offset: 8, Got: 0, Want: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := tbf.Parse(c.object)
			require.NoError(t, tbfbuild.Words(err))
			assert.Equal(t, c.want, o.Runnable())
		})
	}
}

func TestFooters(t *testing.T) {
	const at = 40 + tail // where the footers begin
	for _, c := range []struct {
		name    string
		footers string
		formats []tbf.Format
		err     tbf.Error
	}{
		{"none", "", nil, tbf.Error{}},
		{"SHA-256", sha256, []tbf.Format{tbf.SHA256}, tbf.Error{}},
		{"another type", "\x99\x00\x02\x00ab", []tbf.Format{0}, tbf.Error{}},
		{"an unknown format without data", "\x80\x00\x04\x00\x63\x00\x00\x00", []tbf.Format{0x63}, tbf.Error{}},
		{"SHA-256, then padding", sha256 + "\x80\x00\x04\x00\x00\x00\x00\x00", []tbf.Format{tbf.SHA256, tbf.Reserved}, tbf.Error{}},
		{"zeros", sha256 + "\x00\x00\x00\x00\x00\x00\x00\x00", []tbf.Format{tbf.SHA256, 0, 0}, tbf.Error{}},
		{"less than a type and a length", sha256 + "\x80\x00\x04", []tbf.Format{tbf.SHA256}, tbf.Error{}},
		{"longer than the object", "\x80\x00\x05\x00\x00\x00\x00\x00", nil,
			tbf.Error{Field: tbf.FieldFooter, Rule: tbf.AtMost, Offset: at, Got: at + 9, Want: at + 8}},
		{"SHA-256 cut off", sha256[:39], nil,
			tbf.Error{Field: tbf.FieldFooter, Rule: tbf.AtMost, Offset: at, Got: at + 40, Want: at + 39}},
		{"erased flash", "\xff\xff\xff\xff", nil,
			tbf.Error{Field: tbf.FieldFooter, Rule: tbf.AtMost, Offset: at, Got: at + 0x10003, Want: at + 4}},
		{"credential without a format", "\x80\x00\x02\x00ab", nil,
			tbf.Error{Field: tbf.FieldCredential, Rule: tbf.AtLeast, Offset: at + 2, Got: 2, Want: 4}},
		{"SHA-256 of 36 bytes", "\x80\x00\x28\x00" + sha256[4:] + "more", []tbf.Format{tbf.SHA256}, tbf.Error{}},
		{"SHA-256 of 4 bytes", "\x80\x00\x08\x00\x03\x00\x00\x00abcd", nil,
			tbf.Error{Field: tbf.FieldCredential, Rule: tbf.AtLeast, Offset: at + 2, Got: 8, Want: 36}},
		{"SHA-256, then a bad one", sha256 + "\x80\x00\x01\x00", nil,
			tbf.Error{Field: tbf.FieldFooter, Rule: tbf.AtMost, Offset: at + 40, Got: at + 45, Want: at + 44}},
		{"as many as there may be", strings.Repeat("\x00\x00\x00\x00", tbf.MaxFooters), make([]tbf.Format, tbf.MaxFooters), tbf.Error{}},
		{"one more", strings.Repeat("\x00\x00\x00\x00", tbf.MaxFooters+1), nil,
			tbf.Error{Field: tbf.FieldFooters, Rule: tbf.AtMost, Offset: at + 4*tbf.MaxFooters, Got: tbf.MaxFooters + 1, Want: tbf.MaxFooters}},
	} {
		t.Run(c.name, func(t *testing.T) {
			object := seal(append(assemble(program20(0, 0, 0, at)), c.footers...))
			o, err := tbf.Parse(object)
			require.Equal(t, c.err, err, "%v", tbfbuild.Words(err))
			var formats []tbf.Format
			for footers := o.Footers(); ; {
				footer, ok := footers.Next()
				if !ok {
					break
				}
				formats = append(formats, footer.Format)
			}
			assert.Equal(t, c.formats, formats)
		})
	}
}

// Padding counts from a footer's start, wherever the binary ends.
func TestFootersBehindAnOddBinary(t *testing.T) {
	for missing := range 4 {
		end := 40 + tail - missing
		object := assemble(program20(0, 0, 0, uint32(end)))[:end]
		object = seal(append(object, "\x99\x00\x02\x00ab\x00\x00"+sha256...))
		o, err := tbf.Parse(object)
		require.NoError(t, tbfbuild.Words(err))
		footers := o.Footers()
		first, ok := footers.Next()
		require.True(t, ok)
		assert.Equal(t, tbf.Footer{Type: 0x99, Data: []byte("ab")}, first)
		second, ok := footers.Next()
		require.True(t, ok)
		assert.Equal(t, tbf.Footer{Type: tbf.TypeCredential, Format: tbf.SHA256, Data: []byte(sixteen + sixteen)}, second)
	}
}

// TestLongerCredential: what is behind a credential's data is none of it.
func TestLongerCredential(t *testing.T) {
	for _, behind := range []string{"", "a", "more"} {
		footer := element(tbf.TypeCredential, sha256[4:]+behind)
		object := seal(append(assemble(program20(0, 0, 0, 40+tail)), footer...))
		o, err := tbf.Parse(object)
		require.NoError(t, tbfbuild.Words(err))
		footers := o.Footers()
		got, ok := footers.Next()
		require.True(t, ok)
		assert.Equal(t, tbf.Footer{Type: tbf.TypeCredential, Format: tbf.SHA256, Data: []byte(sixteen + sixteen)}, got)
		_, ok = footers.Next()
		assert.False(t, ok)
	}
}

func TestCredentialSizes(t *testing.T) {
	for format, want := range map[tbf.Format]int{
		tbf.RSA3072: 768, tbf.RSA4096: 1024, tbf.SHA256: 32, tbf.SHA384: 48, tbf.SHA512: 64, tbf.ECDSAP256: 64,
	} {
		size, fixed := format.Size()
		assert.True(t, fixed)
		assert.Equal(t, want, size)
	}
	for _, format := range []tbf.Format{tbf.Reserved, 7} {
		_, fixed := format.Size()
		assert.False(t, fixed)
	}
}

// Makers of malformed objects.

const (
	sixteen = "0123456789abcdef"
	sha256  = "\x80\x00\x24\x00\x03\x00\x00\x00" + sixteen + sixteen // a credential
	tail    = 8                                                      // bytes behind the header that assemble adds
)

// assemble makes a sealed, enabled object of elements and tail bytes.
func assemble(elements ...[]byte) []byte {
	size := tbf.BaseSize
	for _, e := range elements {
		size += len(e)
	}
	object := header(uint16(size), uint32(size+tail))[:tbf.BaseSize]
	for _, e := range elements {
		object = append(object, e...)
	}
	return seal(append(object, make([]byte, tail)...))
}

// header makes an enabled object that claims these sizes. It has total bytes, but a
// base header's at the least and a page at the most.
func header(size uint16, total uint32) []byte {
	object := make([]byte, min(max(tbf.BaseSize, total), 4096))
	object[tbf.OffsetVersion] = tbf.Version
	binary.LittleEndian.PutUint16(object[tbf.OffsetHeaderSize:], size)
	binary.LittleEndian.PutUint32(object[tbf.OffsetTotalSize:], total)
	object[tbf.OffsetFlags] = tbf.FlagEnabled
	return object
}

// seal corrects total size and checksum of an object in place.
func seal(object []byte) []byte {
	binary.LittleEndian.PutUint32(object[tbf.OffsetTotalSize:], uint32(len(object)))
	tbfbuild.Seal(object)
	return object
}

// mutate returns object with one byte changed.
func mutate(object []byte, at int, value byte) []byte {
	changed := append([]byte{}, object...)
	changed[at] = value
	return changed
}

// raw makes an element that claims a length.
func raw(typ tbf.Type, length uint16, value string) []byte {
	e := binary.LittleEndian.AppendUint16(nil, uint16(typ))
	e = binary.LittleEndian.AppendUint16(e, length)
	return append(e, value...)
}

// element makes a whole element with its padding.
func element(typ tbf.Type, value string) []byte {
	e := raw(typ, uint16(len(value)), value)
	return append(e, make([]byte, -len(value)&3)...)
}

func words(values ...uint32) string {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return string(b)
}

func main12(init, trailer, ram uint32) []byte {
	return element(tbf.TypeMain, words(init, trailer, ram))
}

func program20(init, trailer, ram, end uint32) []byte {
	return element(tbf.TypeProgram, words(init, trailer, ram, end, 0))
}

func region(offset, size uint32) []byte {
	return element(tbf.TypeWriteable, words(offset, size))
}

// A name is refused where package unicode/utf8 finds no character, or a control character.
func TestNamesAsUTF8HasThem(t *testing.T) {
	edges := []byte{0, 'a', 0x7f, 0x80, 0x87, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff}
	for first := range 256 {
		for _, second := range edges {
			for _, third := range edges {
				for _, fourth := range edges {
					name := []byte{byte(first), second, third, fourth}
					_, wrong := tbf.Parse(assemble(element(tbf.TypeName, string(name))))
					if at := notPrintable(name); at >= 0 {
						require.Equal(t, tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: uint32(20 + at), Got: uint64(name[at])}, wrong, "%x", name)
					} else {
						require.NotEqual(t, tbf.FieldName, wrong.Field, "%x", name)
					}
				}
			}
		}
	}
}

// notPrintable is where the first character that is none, or a control character, begins, or -1.
func notPrintable(name []byte) int {
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRune(name[i:])
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) {
			return i
		}
		i += size
	}
	return -1
}
