package tbf

import "unicode/utf8"

// parseElements walks the elements of the header, which ends at to, and notes where their
// values are; or the footers, up to the object's end. It ends where less is left than a type
// and a length. field is FieldElement or FieldFooter.
func (o *Object) parseElements(from, to uint32, field Field) Error {
	rest := o.data[from:to]
	for len(rest) >= elementHead {
		at := to - uint32(len(rest))
		typ, value, next, ok := cutElement(rest)
		if !ok {
			end := uint64(at) + elementHead + uint64(le16(rest, 2))
			return Error{field, AtMost, at, end, uint64(to)}
		}
		var err Error
		if field == FieldElement {
			err = o.addElement(typ, value, at+elementHead)
		} else if typ == TypeCredential {
			err = checkCredential(value, span{at + elementHead, uint32(len(value))})
		}
		if !err.OK() {
			return err
		}
		rest = next
	}
	return Error{}
}

// cutElement splits the element at the start of b from what follows it. It
// reports false, and nothing follows, if b does not hold a whole one. The
// padding of the last element may be missing.
func cutElement(b []byte) (typ Type, value, rest []byte, ok bool) {
	if len(b) < elementHead {
		return 0, nil, nil, false
	}
	end := elementHead + int(le16(b, 2))
	if end > len(b) {
		return 0, nil, nil, false
	}
	padded := min((end+3)&^3, len(b))
	return Type(le16(b, 0)), b[elementHead:end], b[padded:], true
}

// addElement checks the value of an element, at the given offset, and notes it.
func (o *Object) addElement(typ Type, value []byte, at uint32) Error {
	where := span{at, uint32(len(value))}
	switch typ {
	case TypeMain:
		return note(&o.main, where, checkLength(FieldMain, Equal, where, MainSize))
	case TypeProgram:
		return note(&o.program, where, checkLength(FieldProgram, Equal, where, ProgramSize))
	case TypeName:
		return note(&o.name, where, checkName(value, where))
	case TypeWriteable:
		return note(&o.writeable, where, checkLength(FieldWriteable, MultipleOf, where, RegionSize))
	case TypeFixedAddresses:
		return note(&o.fixed, where, checkLength(FieldFixedAddresses, Equal, where, FixedAddressesSize))
	case TypePermissions:
		return note(&o.permissions, where, checkPermissions(value, where))
	case TypeStorage:
		return note(&o.storage, where, checkStorage(value, where))
	case TypeKernelVersion:
		return note(&o.kernel, where, checkLength(FieldKernelVersion, Equal, where, KernelVersionSize))
	case TypeShortID:
		return note(&o.shortID, where, checkLength(FieldShortID, Equal, where, ShortIDSize))
	case TypeABI:
		return note(&o.abi, where, checkLength(FieldABI, Equal, where, ABISize))
	}
	return Error{}
}

// note keeps where an element's value is, unless it is wrong or a second one.
func note(to *span, where span, err Error) Error {
	if err.OK() && !to.present() {
		*to = where
	}
	return err
}

// checkLength checks the length of an element's value, which is to be Equal to
// want, AtLeast want, or a MultipleOf want.
func checkLength(field Field, rule Rule, where span, want uint32) Error {
	var ok bool
	switch rule {
	case Equal:
		ok = where.size == want
	case AtLeast:
		ok = where.size >= want
	case MultipleOf:
		ok = where.size%want == 0
	}
	if ok {
		return Error{}
	}
	// The length stands in the two bytes before the value.
	return Error{field, rule, where.at - 2, uint64(where.size), uint64(want)}
}

// checkName wants printable UTF-8: names go to terminals, so that no control
// character may pass.
func checkName(value []byte, where span) Error {
	for i := 0; i < len(value); {
		r, size := utf8.DecodeRune(value[i:])
		invalid := r == utf8.RuneError && size == 1
		control := r < 0x20 || r >= 0x7f && r < 0xa0
		if invalid || control {
			return Error{FieldName, Printable, where.at + uint32(i), uint64(value[i]), 0}
		}
		i += size
	}
	return Error{}
}

// checkPermissions wants as many entries as the count at the start says.
func checkPermissions(value []byte, where span) Error {
	if err := checkLength(FieldPermissions, AtLeast, where, 2); !err.OK() {
		return err
	}
	return checkLength(FieldPermissions, AtLeast, where, 2+PermissionSize*uint32(le16(value, 0)))
}

// checkStorage wants two lists that fit and have at most MaxStorageIDs entries.
func checkStorage(value []byte, where span) Error {
	at := uint32(4) // behind the write identifier
	for range 2 {
		if err := checkLength(FieldStorage, AtLeast, where, at+2); !err.OK() {
			return err
		}
		n := uint32(le16(value, int(at)))
		if n > MaxStorageIDs {
			return Error{FieldStorageIDs, AtMost, where.at + at, uint64(n), MaxStorageIDs}
		}
		at += 2 + 4*n
	}
	return checkLength(FieldStorage, AtLeast, where, at)
}

// loadProgram decodes Program, or else Main, and checks that
// header <= protected region <= init function < binary end <= object.
func (o *Object) loadProgram() Error {
	where := o.program
	if !where.present() {
		where = o.main
	}
	if !where.present() {
		return Error{}
	}
	value := o.bytes(where)
	entry := uint64(o.headerSize) + uint64(le32(value, 0))
	protected := uint64(o.headerSize) + uint64(le32(value, 4))
	end, version := uint64(o.Size()), uint32(0)
	if o.program.present() {
		end, version = uint64(le32(value, 12)), le32(value, 16)
	}
	switch {
	case end > uint64(o.Size()):
		return Error{FieldBinaryEnd, AtMost, where.at + 12, end, uint64(o.Size())}
	case protected > end:
		return Error{FieldProtectedSize, AtMost, where.at + 4, protected, end}
	case entry < protected:
		return Error{FieldEntry, AtLeast, where.at, entry, protected}
	case entry >= end:
		return Error{FieldEntry, Below, where.at, entry, end}
	}
	o.start = Program{
		InitOffset:    uint32(entry),
		ProtectedSize: uint32(protected),
		MinimumRAM:    le32(value, 8),
		BinaryEnd:     uint32(end),
		Version:       version,
	}
	return Error{}
}

// checkRegions wants every writeable region between protected region and binary
// end, so that a task can change neither what was parsed here nor its footers.
func (o *Object) checkRegions() Error {
	for i := range o.WriteableRegions() {
		at := o.writeable.at + uint32(i*RegionSize)
		r, _ := o.WriteableRegion(i)
		start, end := uint64(r.Offset), uint64(r.Offset)+uint64(r.Size)
		switch {
		case start < uint64(o.start.ProtectedSize):
			return Error{FieldRegionStart, AtLeast, at, start, uint64(o.start.ProtectedSize)}
		case end > uint64(o.start.BinaryEnd):
			return Error{FieldRegionEnd, AtMost, at + 4, end, uint64(o.start.BinaryEnd)}
		}
	}
	return Error{}
}
