package tbf

// element is an element of the header that has a meaning here: an index of elements and of Object.values.
// An element of Tock's has the number of its type.
type element int

const (
	elementMain           = element(TypeMain)
	elementProgram        = element(TypeProgram)
	elementName           = element(TypeName)
	elementWriteable      = element(TypeWriteable)
	elementFixedAddresses = element(TypeFixedAddresses)
	elementPermissions    = element(TypePermissions)
	elementStorage        = element(TypeStorage)
	elementKernelVersion  = element(TypeKernelVersion)
	elementShortID        = element(TypeShortID)
	elementABI            = elementShortID + 1
	elementCount          = elementABI + 1
)

// elements says how long the value of each has to be. What has no field has no meaning here.
var elements = [elementCount]struct {
	field Field
	rule  Rule
	size  uint16
}{
	elementMain:           {FieldMain, Equal, MainSize},
	elementProgram:        {FieldProgram, Equal, ProgramSize},
	elementName:           {FieldName, AtLeast, 0},
	elementWriteable:      {FieldWriteable, MultipleOf, RegionSize},
	elementFixedAddresses: {FieldFixedAddresses, Equal, FixedAddressesSize},
	elementPermissions:    {FieldPermissions, AtLeast, 2},
	elementStorage:        {FieldStorage, AtLeast, 6},
	elementKernelVersion:  {FieldKernelVersion, Equal, KernelVersionSize},
	elementShortID:        {FieldShortID, Equal, ShortIDSize},
	elementABI:            {FieldABI, Equal, ABISize},
}

// elementOf is the element of a type, and 0, which has no meaning, for a type without.
func elementOf(typ Type) element {
	switch {
	case typ == TypeABI:
		return elementABI
	case typ > TypeShortID:
		return 0
	}
	return element(typ)
}

// parseElements checks the elements of the header, which ends at to, and notes where their
// values are; or it checks the footers, up to the object's end. It ends where less is left
// than a type and a length. field is FieldElement or FieldFooter.
func (o *Object) parseElements(wrong *Error, at, to uint32, field Field) bool {
	for n := uint64(1); to-at >= elementHead; n++ {
		typ, size := head(o.data, at)
		value := span{at + elementHead, size}
		if end := value.end(); end > uint64(to) {
			return wrong.check(field, AtMost, at, end, uint64(to))
		}
		if n > MaxFooters { // a header has less elements
			return wrong.check(FieldFooters, AtMost, at, n, MaxFooters)
		}
		if field == FieldElement && !o.addElement(wrong, typ, value) || field == FieldFooter && !o.checkFooter(wrong, typ, value) {
			return false
		}
		at = uint32(min(uint64(value.at)+uint64(size+3)&^3, uint64(to))) // the padding of the last one may be missing
	}
	return true
}

// head reads an element's type and length.
func head(b []byte, at uint32) (typ Type, size uint32) {
	word := le32(b, at)
	return Type(word), word >> 16
}

// addElement checks the value of an element, and notes where it is, unless it is a second one.
func (o *Object) addElement(wrong *Error, typ Type, value span) bool {
	e := elementOf(typ)
	want := &elements[e]
	if want.field == NoField {
		return true
	}
	if !o.checkLength(wrong, want.field, want.rule, value, uint32(want.size)) || !o.checkValue(wrong, e, value) {
		return false
	}
	if noted := &o.values[e]; noted.at == 0 {
		*noted = value
	}
	return true
}

// checkValue checks what is in an element's value, which has the length that elements says.
func (o *Object) checkValue(wrong *Error, e element, value span) bool {
	switch e {
	case elementName:
		return o.checkName(wrong, value)
	case elementPermissions: // as many entries as the count at the start says
		n := uint32(le16(o.data, value.at))
		return o.checkLength(wrong, FieldPermissions, AtLeast, value, 2+PermissionSize*n)
	case elementStorage:
		return o.checkStorage(wrong, value)
	}
	return true
}

// checkLength checks the length of an element's value.
func (o *Object) checkLength(wrong *Error, field Field, rule Rule, value span, want uint32) bool {
	// The length stands in the two bytes before the value.
	return wrong.check(field, rule, value.at-2, uint64(value.size), uint64(want))
}

// checkName wants printable UTF-8 (RFC 3629): names go to terminals, so that no control
// character may pass. It goes through the bytes one by one, so that no index is masked.
func (o *Object) checkName(wrong *Error, value span) bool {
	at, first := 0, byte(0) // of the character that is read
	char, left := uint32(0), 0
	printable := true
	for i, c := range o.bytes(value) {
		if left == 0 {
			at, first = i, c
			switch {
			case c >= ' ' && c <= '~':
				continue
			case c >= 0xf0:
				char, left = uint32(c&0x0f), 3
			case c >= 0xe0:
				char, left = uint32(c&0x0f), 2
			case c >= 0xc0:
				char, left = uint32(c&0x1f), 1
			default:
				printable = false
			}
		} else {
			left--
			char = char<<6 | uint32(c&0x3f)
			printable = c&0xc0 == 0x80 && (left > 0 || printableChar(char, first))
		}
		if !printable {
			break
		}
	}
	return printable && left == 0 || wrong.check(FieldName, Printable, value.at+uint32(at), uint64(first), 0)
}

// printableChar reports whether a character is what its first byte, which is above 0xbf, announces, no half of another
// one, and no control character.
func printableChar(char uint32, first byte) bool {
	switch {
	case first < 0xe0:
		return char >= 0xa0
	case first < 0xf0:
		return char >= 0x800 && char>>11 != 0xd800>>11
	}
	return char >= 0x1_0000 && char <= 0x10_ffff
}

// checkStorage wants two lists that fit and have at most MaxStorageIDs entries.
func (o *Object) checkStorage(wrong *Error, value span) bool {
	size := uint32(4) // the write identifier's
	for range 2 {
		if !o.checkLength(wrong, FieldStorage, AtLeast, value, size+2) {
			return false
		}
		at := value.at + size
		n := uint32(le16(o.data, at))
		if !wrong.check(FieldStorageIDs, AtMost, at, uint64(n), MaxStorageIDs) {
			return false
		}
		size += 2 + 4*n
	}
	return o.checkLength(wrong, FieldStorage, AtLeast, value, size)
}

// loadProgram decodes Program, or else Main, and checks that
// header <= protected region <= init function < binary end <= object.
func (o *Object) loadProgram(wrong *Error) bool {
	e := elementProgram
	if !o.has(e) {
		e = elementMain
	}
	if !o.has(e) {
		return true
	}
	start, at, header := &o.start, o.values[e].at, uint64(o.headerSize)
	value := o.data[at:]
	main := (*[MainSize]byte)(value)
	entry := header + uint64(number(main[:4]))
	protected := header + uint64(number(main[4:8]))
	start.InitOffset = uint32(entry)
	start.ProtectedSize = uint32(protected)
	start.MinimumRAM = number(main[8:])
	start.BinaryEnd = o.Size()
	if e == elementProgram {
		program := (*[ProgramSize]byte)(value)
		start.BinaryEnd = number(program[12:16])
		start.Version = number(program[16:])
	}
	end, size := uint64(start.BinaryEnd), uint64(o.Size())
	wrong.check(FieldBinaryEnd, AtMost, at+12, end, size)
	wrong.check(FieldProtectedSize, AtMost, at+4, protected, end)
	wrong.check(FieldEntry, AtLeast, at, entry, protected)
	return wrong.check(FieldEntry, Below, at, entry, end)
}

// checkRegions wants every writeable region between protected region and binary
// end, so that a task can change neither what was parsed here nor its footers.
func (o *Object) checkRegions(wrong *Error) bool {
	at := o.values[elementWriteable].at
	for i := range o.WriteableRegions() {
		r, _ := o.WriteableRegion(i)
		start, end := uint64(r.Offset), uint64(r.Offset)+uint64(r.Size)
		wrong.check(FieldRegionStart, AtLeast, at, start, uint64(o.start.ProtectedSize))
		wrong.check(FieldRegionEnd, AtMost, at+4, end, uint64(o.start.BinaryEnd))
		at += RegionSize
	}
	return wrong.OK()
}
