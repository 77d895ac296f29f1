package tbf

// Length returns the size in bytes of the object at the start of b, so that a
// reader can step over it whether or not it is sound. It reports false where the
// list of objects ends: no base header, another version, or a total size that
// is less than a base header or more than b.
func Length(b []byte) (size int, ok bool) {
	if len(b) < BaseSize || le16(b, OffsetVersion) != Version {
		return 0, false
	}
	total := uint64(le32(b, OffsetTotalSize))
	if total < BaseSize || total > uint64(len(b)) {
		return 0, false
	}
	return int(total), true
}

// Parse checks the object at the start of b, which may be longer, and returns
// it. The first thing that is wrong is returned as an Error, and then the
// object is empty.
//
// Elements of unknown types are skipped, of two elements of one type the first
// counts, and Program counts rather than Main.
func Parse(b []byte) (Object, Error) {
	o, err := parseBase(b)
	if err.OK() {
		err = o.parseElements(BaseSize, o.headerSize, FieldElement)
	}
	if err.OK() {
		err = o.loadProgram()
	}
	if err.OK() {
		err = o.checkRegions()
	}
	if err.OK() && o.program.present() {
		err = o.parseElements(o.start.BinaryEnd, o.Size(), FieldFooter)
	}
	if !err.OK() {
		return Object{}, err
	}
	return o, err
}

// Runnable checks whether this kernel is to run the object: it is enabled,
// holds a program and was made for a kernel that this one can stand in for.
func (o *Object) Runnable() Error {
	version, versioned := o.KernelVersion()
	at := o.kernel.at
	switch {
	case !o.hasProgram():
		return Error{Field: FieldTask, Rule: Present}
	case !o.Enabled():
		return Error{FieldEnabled, Equal, OffsetFlags, 0, 1}
	case !versioned:
		return Error{Field: FieldKernelMajor, Rule: Present}
	case version.Major != KernelMajor:
		return Error{FieldKernelMajor, Equal, at, uint64(version.Major), KernelMajor}
	case version.Minor > KernelMinor:
		return Error{FieldKernelMinor, AtMost, at + 2, uint64(version.Minor), KernelMinor}
	}
	return Error{}
}

// parseBase checks the base header and the checksum of the whole header.
func parseBase(b []byte) (Object, Error) {
	if len(b) < BaseSize {
		return Object{}, Error{Field: FieldObject, Rule: AtLeast, Got: uint64(len(b)), Want: BaseSize}
	}
	if v := le16(b, OffsetVersion); v != Version {
		return Object{}, Error{FieldVersion, Equal, OffsetVersion, uint64(v), Version}
	}
	header, total := le16(b, OffsetHeaderSize), le32(b, OffsetTotalSize)
	if err := checkSizes(uint64(header), uint64(total), uint64(len(b))); !err.OK() {
		return Object{}, err
	}
	want := Checksum(b[:header])
	if got := le32(b, OffsetChecksum); got != want {
		return Object{}, Error{FieldChecksum, Equal, OffsetChecksum, uint64(got), uint64(want)}
	}
	return Object{
		data:       b[:total:total],
		headerSize: uint32(header),
		flags:      le32(b, OffsetFlags),
	}, Error{}
}

// checkSizes checks that BaseSize <= header <= total <= available.
func checkSizes(header, total, available uint64) Error {
	switch {
	case header < BaseSize:
		return Error{FieldHeaderSize, AtLeast, OffsetHeaderSize, header, BaseSize}
	case header%4 != 0:
		return Error{FieldHeaderSize, MultipleOf, OffsetHeaderSize, header, 4}
	case total < header:
		return Error{FieldTotalSize, AtLeast, OffsetTotalSize, total, header}
	case total > available:
		return Error{FieldTotalSize, AtMost, OffsetTotalSize, total, available}
	}
	return Error{}
}
