package kernel

import "kapsel/guest/kernel/tbf"

// StoragePermissions are what a task may do with stored objects, each of which has the identifier of who wrote it: the Storage
// Permissions of the task's own object (Tock's kernel/src/storage_permissions.rs).
type StoragePermissions struct {
	storage tbf.Storage
}

// StoragePermissions returns a task's. It reports false if its object has none, or the task is no more.
func (k *Kernel) StoragePermissions(id TaskID) (p StoragePermissions, ok bool) {
	t := k.task(id)
	if t == nil {
		return p, false
	}
	p.storage, ok = t.object.Storage()
	return p, ok
}

// WriteID is the identifier under which the task stores. It reports false if it may not store anything new.
func (p *StoragePermissions) WriteID() (id uint32, ok bool) {
	return p.storage.WriteID, p.storage.WriteID != 0
}

// MayRead reports whether the task may read what was stored under an identifier: one of its list. That of its own is not
// allowed by itself, and 0 is nobody's.
func (p *StoragePermissions) MayRead(id uint32) bool { return id != 0 && p.storage.Read.Contains(id) }

// MayModify reports whether the task may change what was stored under an identifier, by the rules of MayRead.
func (p *StoragePermissions) MayModify(id uint32) bool {
	return id != 0 && p.storage.Modify.Contains(id)
}
