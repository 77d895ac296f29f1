package tbf

import "kapsel/guest/kernel/format"

// Error says what is wrong with an object: which field, where it is, what it
// holds and what rule that breaks. The zero Error means that nothing is wrong.
// It is a plain value, so that making one allocates nothing; tbfbuild.Words
// turns it into an ordinary error.
type Error struct {
	Field  Field
	Rule   Rule
	Offset uint32 // where the field is, in bytes from the object's start
	Got    uint64 // what it holds
	Want   uint64 // what Rule compares it with
}

// Field is a part of an object that can be wrong.
type Field uint8

// Fields.
const (
	NoField Field = iota // nothing is wrong
	FieldObject
	FieldVersion
	FieldHeaderSize
	FieldTotalSize
	FieldChecksum
	FieldElement
	FieldMain
	FieldProgram
	FieldWriteable
	FieldRegionStart
	FieldRegionEnd
	FieldName
	FieldFixedAddresses
	FieldPermissions
	FieldStorage
	FieldStorageIDs
	FieldKernelVersion
	FieldShortID
	FieldABI
	FieldFooter
	FieldFooters
	FieldCredential
	FieldProtectedSize
	FieldBinaryEnd
	FieldEntry
	FieldTask
	FieldEnabled
	FieldKernelMajor
	FieldKernelMinor
	fieldCount
)

var fieldNames = [fieldCount]string{
	NoField:             "nothing is wrong",
	FieldObject:         "number of bytes",
	FieldVersion:        "format version",
	FieldHeaderSize:     "header size",
	FieldTotalSize:      "total size",
	FieldChecksum:       "header checksum",
	FieldElement:        "end of an element",
	FieldMain:           "length of the Main element",
	FieldProgram:        "length of the Program element",
	FieldWriteable:      "length of the Writeable Flash Regions element",
	FieldRegionStart:    "start of a writeable flash region",
	FieldRegionEnd:      "end of a writeable flash region",
	FieldName:           "byte of the package name",
	FieldFixedAddresses: "length of the Fixed Addresses element",
	FieldPermissions:    "length of the Permissions element",
	FieldStorage:        "length of the Storage Permissions element",
	FieldStorageIDs:     "number of storage identifiers",
	FieldKernelVersion:  "length of the Kernel Version element",
	FieldShortID:        "length of the ShortId element",
	FieldABI:            "length of the Kapsel ABI element",
	FieldFooter:         "end of a footer",
	FieldFooters:        "footer count",
	FieldCredential:     "length of a credential",
	FieldProtectedSize:  "size of the protected region",
	FieldBinaryEnd:      "end of the binary",
	FieldEntry:          "offset of the init function",
	FieldTask:           "Program element",
	FieldEnabled:        "enabled flag",
	FieldKernelMajor:    "required kernel's major version",
	FieldKernelMinor:    "required kernel's minor version",
}

// String names the field in words.
func (f Field) String() string {
	if f < fieldCount {
		return fieldNames[f]
	}
	return "unknown field"
}

// Rule is what a field has to obey.
type Rule uint8

// Rules.
const (
	Equal      Rule = iota // Got must be Want
	AtLeast                // Got must not be below Want
	AtMost                 // Got must not be above Want
	Below                  // Got must be below Want
	MultipleOf             // Got must be a multiple of Want
	Printable              // Got must begin a printable character in UTF-8
	Present                // the object must have the field; Got is 0 if it has not
)

var ruleNames = [...]string{
	Equal:      "want ",
	AtLeast:    "want at least ",
	AtMost:     "want at most ",
	Below:      "want less than ",
	MultipleOf: "want a multiple of ",
	Printable:  "want printable UTF-8",
	Present:    "is missing",
}

// String says what is wanted in words; a number follows unless it is Printable or Present.
func (r Rule) String() string {
	if int(r) < len(ruleNames) {
		return ruleNames[r]
	}
	return "unknown rule"
}

// obeys reports whether got obeys the rule. What is checked to be Printable is not.
func (r Rule) obeys(got, want uint64) bool {
	switch r {
	case Equal:
		return got == want
	case AtLeast:
		return got >= want
	case AtMost:
		return got <= want
	case Below:
		return got < want
	case MultipleOf:
		return got%want == 0
	case Present:
		return got != 0
	}
	return false
}

// check makes e the error if a field does not obey a rule, unless e is one already: the first
// one counts. It reports whether e is none.
//
//go:noinline
func (e *Error) check(field Field, rule Rule, at uint32, got, want uint64) bool {
	if e.OK() && !rule.obeys(got, want) {
		e.Field, e.Rule, e.Offset, e.Got, e.Want = field, rule, at, got, want
	}
	return e.OK()
}

// OK reports whether nothing is wrong.
func (e *Error) OK() bool { return e.Field == NoField }

// Describe writes the error as one line without its end, such as
// "header checksum is 0x12, want 0x34 (at byte 0xc)".
func (e *Error) Describe(w format.Writer) {
	w.WriteString(e.Field.String())
	if e.OK() {
		return
	}
	if e.Rule == Present {
		w.WriteString(" is missing")
		return
	}
	format.Print(w, " is 0x%x, ", e.Got)
	w.WriteString(e.Rule.String())
	if e.Rule != Printable {
		format.Print(w, "0x%x", e.Want)
	}
	format.Print(w, " (at byte 0x%x)", uint64(e.Offset))
}
