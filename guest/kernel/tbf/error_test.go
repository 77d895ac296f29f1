package tbf_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		err  tbf.Error
		want string
	}{
		{tbf.Error{Field: tbf.FieldChecksum, Offset: 12, Got: 0x12, Want: 0x34}, "header checksum is 0x12, want 0x34 (at byte 0xc)"},
		{tbf.Error{Field: tbf.FieldHeaderSize, Rule: tbf.AtLeast, Offset: 2, Got: 8, Want: 16}, "header size is 0x8, want at least 0x10 (at byte 0x2)"},
		{tbf.Error{Field: tbf.FieldKernelMinor, Rule: tbf.AtMost, Offset: 38, Got: 4, Want: 3}, "required kernel's minor version is 0x4, want at most 0x3 (at byte 0x26)"},
		{tbf.Error{Field: tbf.FieldEntry, Rule: tbf.Below, Got: 0x50, Want: 0x40}, "offset of the init function is 0x50, want less than 0x40 (at byte 0x0)"},
		{tbf.Error{Field: tbf.FieldHeaderSize, Rule: tbf.MultipleOf, Offset: 2, Got: 18, Want: 4}, "header size is 0x12, want a multiple of 0x4 (at byte 0x2)"},
		{tbf.Error{Field: tbf.FieldName, Rule: tbf.Printable, Offset: 21, Got: 27}, "byte of the package name is 0x1b, want printable UTF-8 (at byte 0x15)"},
		{tbf.Error{Field: tbf.FieldTask, Rule: tbf.Present}, "Program element is missing"},
		{tbf.Error{Field: 200, Rule: 200}, "unknown field is 0x0, unknown rule0x0 (at byte 0x0)"},
	} {
		assert.EqualError(t, tbfbuild.Words(c.err), c.want)
	}
	assert.NoError(t, tbfbuild.Words(tbf.Error{}))
}

func TestFieldsHaveNames(t *testing.T) {
	for f := tbf.NoField; f.String() != "unknown field"; f++ {
		assert.NotEmpty(t, f.String())
	}
}
