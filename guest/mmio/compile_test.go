package mmio

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// driver is the source of a driver of two devices, whose function ends in a statement to try.
const driver = `package driver

import (
	"kapsel/guest/kernel/capability"
	"kapsel/guest/mmio"
)

type (
	lamp  struct{}
	motor struct{}

	level  uint8  // of a lamp
	mode   uint16 // of a lamp: a hue and a rhythm
	hue    uint8
	rhythm uint8
	speed  uint8 // of a motor
)

const (
	lampLevel  mmio.ReadWrite[lamp, level] = 0
	lampState  mmio.ReadOnly[lamp, level]  = 1
	lampMode   mmio.WriteOnly[lamp, mode]  = 2
	motorSpeed mmio.ReadWrite[motor, speed] = 0

	dark  level = 0
	fast  speed = 9
	modeBlink mode = 0x8000
	modeHue    mmio.Field[mode, hue]    = 0x000f
	modeRhythm mmio.Field[mode, rhythm] = 0x00f0
	red   hue = 1
	waltz rhythm = 3
)

func try(l *mmio.Device[lamp], m *mmio.Device[motor], bus mmio.Bus, can capability.Hardware, number int) {
	_, _, _, _, _ = l, m, bus, can, number
	STATEMENT
}
`

// compile says what a compiler says of the driver with a statement, "" if it compiles.
func compile(t *testing.T, library types.Importer, fset *token.FileSet, statement string) string {
	t.Helper()
	source := strings.Replace(driver, "STATEMENT", statement, 1)
	file, err := parser.ParseFile(fset, "driver.go", source, parser.SkipObjectResolution)
	require.NoError(t, err)
	config := types.Config{Importer: library, Sizes: types.SizesFor("gc", "amd64")}
	if _, err = config.Check("driver", fset, []*ast.File{file}, nil); err != nil {
		return err.(types.Error).Msg
	}
	return ""
}

// TestDoesNotCompile: what a driver must not do, and what the compiler says of it.
func TestDoesNotCompile(t *testing.T) {
	fset := token.NewFileSet()
	library := importer.ForCompiler(fset, "source", nil)
	for _, c := range []struct{ name, statement, says string }{
		{"all that a driver may do", "lampLevel.Write(l, lampState.Read(l) | dark); lampMode.Write(l, modeRhythm.With(modeHue.With(modeBlink, red), waltz)); motorSpeed.Write(m, fast)", ""},
		{"what the board may do", "*l = mmio.NewDevice[lamp](bus, can)", ""},

		{"write to a read-only register", "lampState.Write(l, dark)", "lampState.Write undefined"},
		{"read of a write-only register", "_ = lampMode.Read(l)", "lampMode.Read undefined"},
		{"bytes to a register that is read", "lampLevel.WriteBytes(l, nil)", "lampLevel.WriteBytes undefined"},

		{"value of another register", "lampLevel.Write(l, red)", "cannot use red (constant 1 of uint8 type hue) as level value in argument to lampLevel.Write"},
		{"bit of another register", "_ = lampState.Read(l) & modeBlink", "mismatched types level and mode"},
		{"value of another device", "motorSpeed.Write(m, dark)", "cannot use dark (constant 0 of uint8 type level) as speed value"},
		{"number of no register", "lampLevel.Write(l, number)", "cannot use number (variable of type int) as level value"},
		{"number that is too wide", "lampLevel.Write(l, 0x100)", "cannot use 0x100 (untyped int constant 256) as level value"},
		{"value of another field", "_ = modeRhythm.With(0, red)", "cannot use red (constant 1 of uint8 type hue) as rhythm value"},
		{"field of another register", "_ = modeHue.Of(lampState.Read(l))", "cannot use lampState.Read(l) (value of uint8 type level) as mode value"},
		{"field in the place of a register's value", "lampMode.Write(l, modeHue)", "as mode value in argument to lampMode.Write"},
		{"number of a field in the place of a register's value", "lampMode.Write(l, red)", "cannot use red (constant 1 of uint8 type hue) as mode value"},
		{"register of 64 bits", "const r mmio.ReadOnly[lamp, uint64] = 0", "uint64 does not satisfy mmio.Value"},

		{"register of another device", "_ = motorSpeed.Read(l)", "cannot use l (variable of type *mmio.Device[lamp]) as *mmio.Device[motor] value"},
		{"device as one of another kind", "motorSpeed.Write((*mmio.Device[motor])(l), fast)", "cannot convert l (variable of type *mmio.Device[lamp]) to type *mmio.Device[motor]"},
		{"device's value as one of another kind", "_ = mmio.Device[motor](*l)", "cannot convert *l"},
		{"register as another way to it", "lampState = 3", "cannot assign to lampState"},

		{"device without a capability", "_ = mmio.NewDevice[lamp](bus)", "not enough arguments in call to mmio.NewDevice[lamp]"},
		{"device by a literal", "_ = mmio.Device[lamp]{bus: bus}", "cannot refer to unexported field bus in struct literal of type mmio.Device[lamp]"},
		{"bus of a device", "_ = l.bus", "l.bus undefined (cannot refer to unexported field bus)"},
		{"memory without a capability", "_ = mmio.NewMemory(0xfee00000, 4096)", "not enough arguments in call to mmio.NewMemory"},
		{"ports by a literal", "_ = mmio.Ports{base: 0x3f8}", "cannot refer to unexported field base in struct literal of type mmio.Ports"},
	} {
		t.Run(c.name, func(t *testing.T) {
			says := compile(t, library, fset, c.statement)
			if c.says == "" {
				assert.Empty(t, says)
			} else {
				assert.Contains(t, says, c.says)
			}
		})
	}
}
