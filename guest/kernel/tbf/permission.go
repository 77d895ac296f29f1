package tbf

// Permissions is the number of entries in the list of permissions.
func (o *Object) Permissions() int {
	if !o.Restricted() {
		return 0
	}
	return int(le16(o.data, o.values[elementPermissions].at))
}

// Permission returns entry i of the list. It reports false if there is no such entry.
func (o *Object) Permission(i int) (Permission, bool) {
	if i < 0 || i >= o.Permissions() {
		return Permission{}, false
	}
	at := o.values[elementPermissions].at + 2 + uint32(i)*PermissionSize
	return Permission{
		Driver: le32(o.data, at),
		Offset: le32(o.data, at+4),
		Mask:   uint64(le32(o.data, at+8)) | uint64(le32(o.data, at+12))<<32,
	}, true
}

// Restricted reports whether the task has a list of permissions. A task without
// one may use every driver.
func (o *Object) Restricted() bool { return o.has(elementPermissions) }

// AllowsDriver reports whether the task may subscribe to a driver and share
// memory with it: it is not restricted, or an entry has a command of the driver.
func (o *Object) AllowsDriver(driver uint32) bool {
	if !o.Restricted() {
		return true
	}
	for i := range o.Permissions() {
		if p, _ := o.Permission(i); p.Driver == driver && p.Mask != 0 {
			return true
		}
	}
	return false
}

// AllowsCommand reports whether the task may give a driver a command: it is not
// restricted, or an entry has the command's bit.
func (o *Object) AllowsCommand(driver, command uint32) bool {
	if !o.Restricted() {
		return true
	}
	for i := range o.Permissions() {
		p, _ := o.Permission(i)
		if p.Driver == driver && p.Offset == command/64 && p.Mask>>(command%64)&1 != 0 {
			return true
		}
	}
	return false
}
