package tbf

// Footer is an element behind the binary. Only credentials are defined.
type Footer struct {
	Type   Type
	Format Format // of a credential
	Data   []byte // a credential's data; of other types, the whole value
}

// Footers walks an object's footers. It ends at the first that is malformed.
type Footers struct{ rest []byte }

// Footers returns the footers from the first on. Only objects with a Program
// element can have any.
func (o *Object) Footers() Footers {
	if !o.program.present() {
		return Footers{}
	}
	return Footers{o.data[o.start.BinaryEnd:]}
}

// Signed returns the bytes that credentials vouch for: header, protected region and binary.
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
	if typ != TypeCredential {
		return Footer{Type: typ, Data: value}, true
	}
	if len(value) < 4 {
		f.rest = nil
		return Footer{}, false
	}
	footer := Footer{Type: typ, Format: Format(le32(value, 0)), Data: value[4:]}
	if size, fixed := footer.Format.Size(); fixed && size != len(footer.Data) {
		f.rest = nil
		return Footer{}, false
	}
	return footer, true
}
