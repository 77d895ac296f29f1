package tbfbuild

import (
	"crypto/sha256"
	"encoding/binary"

	"kapsel/guest/kernel/tbf"
)

// footerMin is the size of a credential footer without data: type, length, format.
const footerMin = 8

var le = binary.LittleEndian

// elements returns the header of an object with the given layout, but for the
// checksum. Its size does not depend on the layout.
func elements(s Spec, l layout) []byte {
	h := base(s, l)
	h = appendElement(h, tbf.TypeProgram, program(s, l))
	if len(s.Writeable) > 0 {
		h = appendElement(h, tbf.TypeWriteable, regions(s, l))
	}
	if s.Name != "" {
		h = appendElement(h, tbf.TypeName, []byte(s.Name))
	}
	if a := s.FixedAddresses; a != nil {
		h = appendElement(h, tbf.TypeFixedAddresses, words32(a.RAM, a.Flash))
	}
	if s.Permissions != nil {
		h = appendElement(h, tbf.TypePermissions, permissions(s.Permissions))
	}
	if s.Storage != nil {
		h = appendElement(h, tbf.TypeStorage, storage(s.Storage))
	}
	h = appendElement(h, tbf.TypeKernelVersion, kernelVersion(s.KernelVersion))
	if s.ShortID != 0 {
		h = appendElement(h, tbf.TypeShortID, words32(s.ShortID))
	}
	if s.ABI64 {
		h = appendElement(h, tbf.TypeABI, words32(tbf.ABI64))
	}
	return h
}

// appendElement appends type, length, value and padding.
func appendElement(h []byte, typ tbf.Type, value []byte) []byte {
	h = le.AppendUint16(h, uint16(typ))
	h = le.AppendUint16(h, uint16(len(value)))
	h = append(h, value...)
	return append(h, make([]byte, -len(value)&3)...)
}

func base(s Spec, l layout) []byte {
	flags := uint32(tbf.FlagEnabled)
	if s.Disabled {
		flags &^= tbf.FlagEnabled
	}
	if s.Sticky {
		flags |= tbf.FlagSticky
	}
	h := make([]byte, tbf.BaseSize)
	le.PutUint16(h[tbf.OffsetVersion:], tbf.Version)
	le.PutUint16(h[tbf.OffsetHeaderSize:], uint16(l.header))
	le.PutUint32(h[tbf.OffsetTotalSize:], uint32(l.total))
	le.PutUint32(h[tbf.OffsetFlags:], flags)
	return h
}

// program counts the init function from the end of the header, as the format does.
func program(s Spec, l layout) []byte {
	trailer := uint32(l.binary - l.header)
	return words32(trailer+s.Init, trailer, s.MinimumRAM, uint32(l.end), s.Version)
}

func regions(s Spec, l layout) []byte {
	var b []byte
	for _, r := range s.Writeable {
		b = append(b, words32(uint32(l.binary)+r.Offset, r.Size)...)
	}
	return b
}

func permissions(list []tbf.Permission) []byte {
	b := le.AppendUint16(nil, uint16(len(list)))
	for _, p := range list {
		b = append(b, words32(p.Driver, p.Offset)...)
		b = le.AppendUint64(b, p.Mask)
	}
	return b
}

func storage(s *Storage) []byte {
	b := words32(s.WriteID)
	for _, ids := range [][]uint32{s.Read, s.Modify} {
		b = le.AppendUint16(b, uint16(len(ids)))
		b = append(b, words32(ids...)...)
	}
	return b
}

func kernelVersion(v tbf.KernelVersion) []byte {
	if v == (tbf.KernelVersion{}) {
		v = tbf.KernelVersion{Major: tbf.KernelMajor, Minor: tbf.KernelMinor}
	}
	return le.AppendUint16(le.AppendUint16(nil, v.Major), v.Minor)
}

func words32(words ...uint32) []byte {
	b := make([]byte, 0, 4*len(words))
	for _, w := range words {
		b = le.AppendUint32(b, w)
	}
	return b
}

// credentials returns the footers in front of the padding.
func credentials(s Spec, digest [sha256.Size]byte) []byte {
	var b []byte
	if s.SHA256 {
		b = appendCredential(b, Credential{tbf.SHA256, digest[:]})
	}
	for _, c := range s.Credentials {
		b = appendCredential(b, c)
	}
	return b
}

func appendCredential(b []byte, c Credential) []byte {
	return appendElement(b, tbf.TypeCredential, append(words32(uint32(c.Format)), c.Data...))
}

// putPadding makes a reserved footer of all of b, which is empty or has at least
// footerMin bytes and at most a page.
func putPadding(b []byte) {
	if len(b) == 0 {
		return
	}
	le.PutUint16(b[0:], uint16(tbf.TypeCredential))
	le.PutUint16(b[2:], uint16(len(b)-4))
	le.PutUint32(b[4:], uint32(tbf.Reserved))
}
