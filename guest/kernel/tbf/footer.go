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

// checkCredential wants a format, and as much data as it has.
func checkCredential(value []byte, where span) Error {
	rule, want := AtLeast, uint32(formatSize)
	if len(value) >= formatSize {
		if size, fixed := Format(le32(value, 0)).Size(); fixed {
			rule, want = Equal, want+uint32(size)
		}
	}
	return checkLength(FieldCredential, rule, where, want)
}
