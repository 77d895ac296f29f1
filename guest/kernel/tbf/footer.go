package tbf

// Footer is an element behind the binary. Only credentials are defined.
type Footer struct {
	Type   Type
	Format Format // of a credential
	Data   []byte // a credential's data; of other types, the whole value
}

// Footers walks an object's footers.
type Footers struct{ rest []byte }

// Footers returns the footers from the first on. Only objects with a Program
// element can have any.
func (o *Object) Footers() Footers {
	if !o.program.present() {
		return Footers{}
	}
	return Footers{o.data[o.start.BinaryEnd:]}
}

// Signed returns the bytes that credentials vouch for, the integrity region: header,
// protected region and binary, with the writeable flash regions as they are in the object.
func (o *Object) Signed() []byte {
	if !o.hasProgram() {
		return nil
	}
	return o.data[:o.start.BinaryEnd]
}

// Next returns the next footer. It reports false at the end.
func (f *Footers) Next() (Footer, bool) {
	typ, value, rest, ok := cutElement(f.rest)
	f.rest = rest
	if !ok {
		return Footer{}, false
	}
	footer := Footer{Type: typ, Data: value}
	if typ == TypeCredential {
		footer.Format, footer.Data = Format(le32(value, 0)), value[formatSize:]
	}
	return footer, true
}

// formatSize is the size of a credential's format in bytes.
const formatSize = 4

// checkFooters wants footers up to the object's end, or until no more is left than a
// footer's type and length would take, and credentials of the length that their format has.
func (o *Object) checkFooters() Error {
	rest := o.Footers().rest
	for len(rest) >= elementHead {
		at := o.Size() - uint32(len(rest))
		typ, value, next, ok := cutElement(rest)
		if !ok {
			end := uint64(at) + elementHead + uint64(le16(rest, 2))
			return Error{FieldFooter, AtMost, at, end, uint64(o.Size())}
		}
		if typ == TypeCredential {
			if err := checkCredential(value, span{at + elementHead, uint32(len(value))}); !err.OK() {
				return err
			}
		}
		rest = next
	}
	return Error{}
}

func checkCredential(value []byte, where span) Error {
	if err := checkLength(FieldCredential, AtLeast, where, formatSize); !err.OK() {
		return err
	}
	if size, fixed := Format(le32(value, 0)).Size(); fixed {
		return checkLength(FieldCredential, Equal, where, formatSize+uint32(size))
	}
	return Error{}
}
