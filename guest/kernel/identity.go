package kernel

import "kapsel/guest/kernel/tbf"

// Identity says which application a task is a run of. No two tasks have the same.
type Identity struct {
	// AppID is the application's identifier for everyone, compared byte by byte; empty:
	// it is no other application.
	AppID []byte
	// ShortID is the application's identifier within this system; 0: locally unique, that
	// is, no other's.
	ShortID uint32
}

// same reports whether two identities are one application's.
func (a *Identity) same(b *Identity) bool {
	return a.ShortID != 0 && a.ShortID == b.ShortID ||
		len(a.AppID) != 0 && string(a.AppID) == string(b.AppID)
}

// IdentityPolicy is the board's choice of what makes two objects one application: Tock's
// AppIdPolicy.
type IdentityPolicy interface {
	// Identify returns the identity of an object, which is sound. AppID may refer to
	// the object's bytes in front of the binary. Objects of one AppID have one ShortID.
	Identify(o *tbf.Object) Identity
}

// NoIdentity makes every object an application of its own.
type NoIdentity struct{}

// Identify implements IdentityPolicy.
func (*NoIdentity) Identify(*tbf.Object) Identity { return Identity{} }

// HeaderIdentity goes by the ShortID in the object's header. An object without one is an
// application of its own.
type HeaderIdentity struct{}

// Identify implements IdentityPolicy.
func (*HeaderIdentity) Identify(o *tbf.Object) Identity {
	id, _ := o.ShortID()
	return Identity{ShortID: id}
}

// NameIdentity goes by the package name: that is the AppID, and a hash of it the ShortID.
// An object without a name is an application of its own.
type NameIdentity struct{}

// Identify implements IdentityPolicy.
func (*NameIdentity) Identify(o *tbf.Object) Identity {
	name := o.Name()
	if len(name) == 0 {
		return Identity{}
	}
	return Identity{AppID: name, ShortID: max(fnv1a(name), 1)}
}

// fnv1a is the 32-bit hash FNV-1a (draft-eastlake-fnv, section 2).
func fnv1a(b []byte) uint32 {
	hash := uint32(2166136261)
	for _, c := range b {
		hash = (hash ^ uint32(c)) * 16777619
	}
	return hash
}
