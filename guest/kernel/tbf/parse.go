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

// Blank reports whether all bytes, one at the least, are zero, or all are as erased flash is: the
// rest of a place behind its last object, in which none is missed.
func Blank(b []byte) bool {
	for _, v := range b {
		if v != b[0] {
			return false
		}
	}
	return len(b) != 0 && (b[0] == 0 || b[0] == 0xff)
}

// Parse checks the object at the start of b, which may be longer, and returns
// it. The first thing that is wrong is returned as an Error, and then the
// object is empty.
//
// Elements of unknown types are skipped, of two elements of one type the first
// counts, and Program counts rather than Main.
func Parse(b []byte) (o Object, wrong Error) {
	wrong = o.Parse(b)
	return o, wrong
}

// Parse makes o the object at the start of b, as the function Parse does. o was empty.
func (o *Object) Parse(b []byte) (wrong Error) {
	if !o.parse(&wrong, b) {
		*o = Object{}
	}
	return wrong
}

// parse and the methods that it calls report false when they have found something wrong.
func (o *Object) parse(wrong *Error, b []byte) bool {
	return o.parseBase(wrong, b) &&
		o.parseElements(wrong, BaseSize, o.headerSize, FieldElement) &&
		o.loadProgram(wrong) &&
		o.checkRegions(wrong) &&
		(!o.has(elementProgram) || o.parseElements(wrong, o.start.BinaryEnd, o.Size(), FieldFooter))
}

// parseBase checks the base header and the checksum of the whole header.
func (o *Object) parseBase(wrong *Error, b []byte) bool {
	available := uint64(len(b))
	if !wrong.check(FieldObject, AtLeast, 0, available, BaseSize) {
		return false
	}
	version, header, total := uint64(le16(b, OffsetVersion)), uint64(le16(b, OffsetHeaderSize)), uint64(le32(b, OffsetTotalSize))
	wrong.check(FieldVersion, Equal, OffsetVersion, version, Version)
	wrong.check(FieldHeaderSize, AtLeast, OffsetHeaderSize, header, BaseSize)
	wrong.check(FieldHeaderSize, MultipleOf, OffsetHeaderSize, header, 4)
	wrong.check(FieldTotalSize, AtLeast, OffsetTotalSize, total, header)
	if !wrong.check(FieldTotalSize, AtMost, OffsetTotalSize, total, available) {
		return false
	}
	o.data, o.headerSize, o.flags = b[:total:total], uint32(header), le32(b, OffsetFlags)
	return wrong.check(FieldChecksum, Equal, OffsetChecksum, uint64(le32(b, OffsetChecksum)), uint64(Checksum(b[:header])))
}

// Runnable checks whether this kernel is to run the object: it is enabled,
// holds a program and was made for a kernel that this one can stand in for.
func (o *Object) Runnable() Error {
	at := o.values[elementKernelVersion].at
	version, _ := o.KernelVersion()
	var wrong Error
	wrong.check(FieldTask, Present, 0, uint64(o.start.BinaryEnd), 0)
	wrong.check(FieldEnabled, Equal, OffsetFlags, uint64(o.flags&FlagEnabled), FlagEnabled)
	wrong.check(FieldKernelMajor, Present, 0, uint64(at), 0)
	wrong.check(FieldKernelMajor, Equal, at, uint64(version.Major), KernelMajor)
	wrong.check(FieldKernelMinor, AtMost, at+2, uint64(version.Minor), KernelMinor)
	return wrong
}
