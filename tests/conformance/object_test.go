package conformance

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
)

var le = binary.LittleEndian

// behaviour is a task object of the conformance task: "01" for behaviour 1, "25y" for part y
// of 25.
func behaviour(t *testing.T, part string) []byte {
	t.Helper()
	object := machine.Object(t, "test/conformance.tbf")
	_, name := element(t, object, tbf.TypeName)
	require.Equal(t, "conformance", string(name), "the task's name")
	renamed := "behaviour" + part
	room := (len(name) + 3) &^ 3
	require.LessOrEqual(t, len(renamed), room, "a name has to fit where the task's name is")
	at, _ := element(t, object, tbf.TypeName)
	le.PutUint16(object[at+2:], uint16(len(renamed)))
	copy(object[at+4:at+4+room], append([]byte(renamed), make([]byte, room)...))
	return sealed(t, object)
}

// behaviourObjects are the objects of several parts.
func behaviourObjects(t *testing.T, parts ...string) [][]byte {
	t.Helper()
	var objects [][]byte
	for _, part := range parts {
		objects = append(objects, behaviour(t, part))
	}
	return objects
}

// sealed is the object with the right checksum, and sound.
func sealed(t *testing.T, object []byte) []byte {
	t.Helper()
	tbfbuild.Seal(object)
	require.NoError(t, tbfbuild.Check(object))
	return object
}

// element finds the first element of a type: where it begins, and its value.
func element(t *testing.T, object []byte, typ tbf.Type) (at int, value []byte) {
	t.Helper()
	for at = tbf.BaseSize; at < int(le.Uint16(object[tbf.OffsetHeaderSize:])); {
		length := int(le.Uint16(object[at+2:]))
		if tbf.Type(le.Uint16(object[at:])) == typ {
			return at, object[at+4 : at+4+length]
		}
		at += 4 + (length+3)&^3
	}
	require.Failf(t, "no such element", "type %d", typ)
	return 0, nil
}

// withElement puts one more element at the header's end. The header grows into the protected
// region behind it, so that the application stays where it is.
func withElement(t *testing.T, object []byte, typ tbf.Type, value []byte) []byte {
	t.Helper()
	added := le.AppendUint16(nil, uint16(typ))
	added = le.AppendUint16(added, uint16(len(value)))
	added = append(added, value...)
	added = append(added, make([]byte, -len(value)&3)...)

	header := int(le.Uint16(object[tbf.OffsetHeaderSize:]))
	_, program := element(t, object, tbf.TypeProgram)
	for _, fromHeader := range [][]byte{program[0:4], program[4:8]} { // init offset, protected size
		offset := le.Uint32(fromHeader)
		require.GreaterOrEqual(t, offset, uint32(len(added)), "no room for another element")
		le.PutUint32(fromHeader, offset-uint32(len(added)))
	}
	copy(object[header:], added)
	le.PutUint16(object[tbf.OffsetHeaderSize:], uint16(header+len(added)))
	return sealed(t, object)
}

// restricted gives the object a list of permissions.
func restricted(t *testing.T, object []byte, permissions ...tbf.Permission) []byte {
	t.Helper()
	value := le.AppendUint16(nil, uint16(len(permissions)))
	for _, p := range permissions {
		value = le.AppendUint32(value, p.Driver)
		value = le.AppendUint32(value, p.Offset)
		value = le.AppendUint64(value, p.Mask)
	}
	return withElement(t, object, tbf.TypePermissions, value)
}

// A spoiler makes an object one that is not to be run.
type spoiler struct {
	name  string
	spoil func(t *testing.T, object []byte)
	want  string // what the kernel says, as a regular expression
}

var spoilers = []spoiler{
	{"checksum", func(_ *testing.T, object []byte) {
		object[tbf.OffsetChecksum] ^= 1
	}, `header checksum is 0x[0-9a-f]+, want 0x[0-9a-f]+`},
	{"disabled", func(_ *testing.T, object []byte) {
		object[tbf.OffsetFlags] &^= tbf.FlagEnabled
		tbfbuild.Seal(object)
	}, `enabled flag is 0x0, want `},
	{"header too small", func(_ *testing.T, object []byte) {
		le.PutUint16(object[tbf.OffsetHeaderSize:], tbf.BaseSize-4)
	}, `header size is 0xc, want at least 0x10`},
	{"no kernel version", func(t *testing.T, object []byte) {
		at, _ := element(t, object, tbf.TypeKernelVersion)
		le.PutUint16(object[at:], 0x7777) // a type that nobody knows
		tbfbuild.Seal(object)
	}, `required kernel's major version is missing`},
	{"kernel too new", func(t *testing.T, object []byte) {
		_, version := element(t, object, tbf.TypeKernelVersion)
		le.PutUint16(version[2:], tbf.KernelMinor+1)
		tbfbuild.Seal(object)
	}, `required kernel's minor version is 0x4, want at most 0x3`},
	{"another kernel", func(t *testing.T, object []byte) {
		_, version := element(t, object, tbf.TypeKernelVersion)
		le.PutUint16(version, tbf.KernelMajor+1)
		tbfbuild.Seal(object)
	}, `required kernel's major version is 0x3, want 0x2`},
	{"fixed address not on a page", func(t *testing.T, object []byte) {
		_, fixed := element(t, object, tbf.TypeFixedAddresses)
		le.PutUint32(fixed[4:], le.Uint32(fixed[4:])+16)
		tbfbuild.Seal(object)
	}, `its fixed addresses do not put flash and RAM on pages`},
	{"fixed RAM in flash", func(t *testing.T, object []byte) {
		_, fixed := element(t, object, tbf.TypeFixedAddresses)
		le.PutUint32(fixed, le.Uint32(fixed[4:])&^0xfff)
		tbfbuild.Seal(object)
	}, `its flash and RAM would overlap`},
}

// spoilers32 are those for 32-bit tasks.
var spoilers32 = append(spoilers[:len(spoilers):len(spoilers)], spoiler{"RAM above 4 GiB", func(t *testing.T, object []byte) {
	_, fixed := element(t, object, tbf.TypeFixedAddresses)
	le.PutUint32(fixed, 0xffff_f000)
	tbfbuild.Seal(object)
}, `it is a 32-bit task, and its flash or RAM would not end below 4 GiB`})

// spoil is a copy of the object for each spoiler.
func spoil(t *testing.T, object []byte, spoilers []spoiler) [][]byte {
	t.Helper()
	var spoiled [][]byte
	for _, s := range spoilers {
		b := bytes.Clone(object)
		s.spoil(t, b)
		spoiled = append(spoiled, b)
	}
	return spoiled
}

// assertSpoiled asserts that the kernel says of each object what is wrong.
func assertSpoiled(t *testing.T, spoilers []spoiler, skipped []string) {
	t.Helper()
	for i, s := range spoilers {
		assert.Regexp(t, s.want, skipped[i], s.name)
	}
}
