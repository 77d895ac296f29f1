//go:build kapsel

package runtime

// moduledata is the linker's table of tables (cmd/link/internal/ld/symtab.go). Its layout
// belongs to the toolchain; mkimage pins the version.
type moduledata struct {
	_         [59]uintptr // tables of functions, bounds of sections, lists of types, packages
	inittasks []*initTask

	_ [256]byte // the rest, which the linker writes and nothing reads
}

var (
	firstmoduledata moduledata
	lastmoduledatap = &firstmoduledata
)
