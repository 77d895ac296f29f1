package tbf

// Footer is an element behind the binary. Only credentials are defined.
type Footer struct {
	Type   Type
	Format Format // of a credential
	Data   []byte // a credential's data, as long as its format's is; of other types, the whole value
}

// Footers walks an object's footers.
type Footers struct{ rest []byte }

// Footers returns the footers from the first on. Only objects with a Program
// element can have any.
func (o *Object) Footers() Footers {
	if !o.has(elementProgram) {
		return Footers{}
	}
	return Footers{o.data[o.start.BinaryEnd:]}
}

// Signed returns the bytes that credentials vouch for, the integrity region: header,
// protected region and binary, with the writeable flash regions as they are in the object.
func (o *Object) Signed() []byte {
	if o.start.BinaryEnd == 0 {
		return nil
	}
	return o.data[:o.start.BinaryEnd]
}

// Next returns the next footer. It reports false at the end.
func (f *Footers) Next() (Footer, bool) {
	if len(f.rest) < elementHead {
		return Footer{}, false
	}
	typ, size := head(f.rest, 0)
	end := elementHead + size // Parse has checked that it is there
	footer := Footer{Type: typ, Data: f.rest[elementHead:end]}
	f.rest = f.rest[min((end+3)&^3, uint32(len(f.rest))):]
	if footer.Type == TypeCredential {
		footer.Format, footer.Data = Format(le32(footer.Data, 0)), footer.Data[formatSize:]
		if size, fixed := footer.Format.Size(); fixed {
			footer.Data = footer.Data[:size]
		}
	}
	return footer, true
}

// formatSize is the size of a credential's format in bytes.
const formatSize = 4

// checkFooter wants of a credential a format, and at least as much data as that has. As on Tock,
// what is behind it in the footer says nothing.
func (o *Object) checkFooter(wrong *Error, typ Type, value span) bool {
	if typ != TypeCredential {
		return true
	}
	if !o.checkLength(wrong, FieldCredential, AtLeast, value, formatSize) {
		return false
	}
	size, fixed := Format(le32(o.data, value.at)).Size()
	return !fixed || o.checkLength(wrong, FieldCredential, AtLeast, value, formatSize+uint32(size))
}
