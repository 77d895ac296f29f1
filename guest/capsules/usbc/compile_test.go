package usbc

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDoesNotCompile: what of a controller's descriptors and registers the compiler refuses within the driver itself.
func TestDoesNotCompile(t *testing.T) {
	fset := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(fset, "source", nil), Sizes: types.SizesFor("gc", "amd64")}
	var driver []*ast.File
	for _, name := range []string{"usbc.go", "registers.go"} {
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		driver = append(driver, file)
	}
	for _, c := range []struct{ name, statement, says string }{
		{"what the driver does", "controlClear.Write(r, fifoControl|onReceived)", ""},
		{"a ninth endpoint", "_ = &u.devices.Table[8]", "index 8 out of bounds"},
		{"a third bank", "_ = &u.devices.Table[0][2]", "index 2 out of bounds"},
		{"no descriptor", "u.devices.Table[0][0] = nil", "cannot use nil as mmio.Device[Bank] value"},
		{"no address", "u.describe(1, 0, nil, 0)", "cannot use nil as physicalAddress value"},
		{"a status in the place of a control", "controlSet.Write(r, transmitted)", "(constant 1 of uint32 type statusBits) as controlBits value"},
		{"a size in the place of a type", "_ = epType.With(0, Bytes64)", "(constant 3 of uint8 type Size) as Type value"},
		{"a type of too many bits", "_ = Type(256)", "constant 256 overflows Type"},
		{"a write of what the controller says", "status.Write(r, received)", "status.Write undefined"},
		{"a register of an endpoint at the controller", "configuration.Write(&u.devices.Controller, 0)", "as *mmio.Device[Registers] value"},
		{"a descriptor in the place of an endpoint", "_ = status.Read(&u.devices.Table[1][0])", "as *mmio.Device[Registers] value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "package usbc\n\nimport \"kapsel/guest/mmio\"\n\nfunc try(u *USBC, r *mmio.Device[Registers]) {\n\t" + c.statement + "\n}\n"
			file, err := parser.ParseFile(fset, "try.go", text, parser.SkipObjectResolution)
			require.NoError(t, err)
			_, err = config.Check("usbc", fset, append(driver[:len(driver):len(driver)], file), nil)
			if c.says == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.says)
			}
		})
	}
}
