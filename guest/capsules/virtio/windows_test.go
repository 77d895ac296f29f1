package virtio

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/kerneltest"
)

// TestWordsOfTheCommandLine: as Linux, QEMU's microvm and Firecracker have them, and hostile ones.
func TestWordsOfTheCommandLine(t *testing.T) {
	const (
		form  = "want <size>@<base>:<irq>[:<id>], as in 4K@0xd0000000:5"
		where = "the registers are not between 0xc0000000 and 0x100000000"
		small = "the registers take 512 bytes at the least, at a multiple of 512"
		line  = "the interrupt is not from 5 to 15"
		other = "the registers are another device's"
	)
	for _, tt := range []struct {
		text    string
		want    Window
		problem string
	}{
		{"4K@0xd0000000:5", Window{Base: 0xd000_0000, Size: 4096, Line: 5}, ""},
		{"512@0xfeb00e00:12", Window{Base: 0xfeb0_0e00, Size: 512, Line: 12}, ""},
		{"0x200@0xFEB00000:15:3", Window{Base: 0xfeb0_0000, Size: 512, Line: 15}, ""},
		{"4k@3328M:6", Window{Base: 3328 << 20, Size: 4096, Line: 6}, ""},
		{"512@4294966784:6", Window{Base: 1<<32 - 512, Size: 512, Line: 6}, ""},
		{"1M@3g:6", Window{Base: 3 << 30, Size: 1 << 20, Line: 6}, ""},
		{"", Window{}, form},
		{"4K", Window{}, form},
		{"4K@0xd0000000", Window{}, form},
		{"4K@0xd0000000:", Window{}, form},
		{"@0xd0000000:5", Window{}, form},
		{"4K@:5", Window{}, form},
		{"K@0xd0000000:5", Window{}, form},
		{"0x@0xd0000000:5", Window{}, form},
		{"4KK@0xd0000000:5", Window{}, form},
		{"-1@0xd0000000:5", Window{}, form},
		{"4K@0xd000000g0:5", Window{}, form},
		{"4K@0xd0000000:5:", Window{Base: 0xd000_0000, Size: 4096, Line: 5}, ""},
		{"4K@0xd0000000:5:x", Window{}, form},
		{"4K@0xd0000000:5:1:2", Window{}, form},
		{"4K@0xd0000000:4294967301", Window{}, form},
		{"4K@0x1ffffffffd0000000:5", Window{}, form},
		{"99999999999999999999@0xd0000000:5", Window{}, form},
		{"0x7fffffffffffffffK@0xd0000000:5", Window{}, form},
		{"0x7fffffffffffffff@0xd0000000:5", Window{}, where},
		{"511@0xd0000000:5", Window{}, small},
		{"0@0xd0000000:5", Window{}, small},
		{"4K@0xd0000100:5", Window{}, small},
		{"4K@0xbffff000:5", Window{}, where},
		{"4K@0:5", Window{}, where},
		{"4K@0x100000000:5", Window{}, where},
		{"1K@0xfffffe00:5", Window{}, where},
		{"4K@0xd0000000:4", Window{}, line},
		{"4K@0xd0000000:0", Window{}, line},
		{"4K@0xd0000000:16", Window{}, line},
		{"4K@0xd0000000:2147483648", Window{}, line},
		{"4K@0xfec00000:5", Window{}, other},
		{"512@0xfee00e00:5", Window{}, other},
		{"1G@0xc0000000:5", Window{}, other},
	} {
		var w Windows
		assert.Equal(t, tt.problem, w.add([]byte(tt.text)), "%q", tt.text)
		if tt.problem == "" {
			assert.Equal(t, []Window{tt.want}, w.All(), "%q", tt.text)
		} else {
			assert.Empty(t, w.All(), "%q", tt.text)
		}
	}
}

// TestWindowsAreTheDevicesOwn: several words, of which none takes what another has, and no more than there is room for.
func TestWindowsAreTheDevicesOwn(t *testing.T) {
	var w Windows
	assert.Empty(t, w.add([]byte("512@0xfeb00000:5")))
	assert.Empty(t, w.add([]byte("512@0xfeb00200:6")))
	assert.Equal(t, "the registers are another device's", w.add([]byte("512@0xfeb00000:7")))
	assert.Equal(t, "the registers are another device's", w.add([]byte("4K@0xfeb00000:7")))
	assert.Equal(t, "the interrupt is another device's", w.add([]byte("512@0xfeb00400:6")))
	for i := len(w.All()); i < abi.VirtioPlaces; i++ {
		assert.Empty(t, w.add(fmt.Appendf(nil, "512@%#x:%d", 0xfeb0_0000+512*i, 5+i)))
	}
	assert.Equal(t, "there are more than 8", w.add([]byte("512@0xfeb01000:13")))
}

// TestObey: words of devices alone are taken, and what is wrong with one is said.
func TestObey(t *testing.T) {
	var w Windows
	var log kerneltest.Log
	for _, word := range []string{"", "virtio_mmio", "virtio_mmio.device", "virtio_mmio.devices=", "boot-ticks"} {
		assert.False(t, w.Obey([]byte(word), &log), "%q", word)
	}
	assert.True(t, w.Obey([]byte("virtio_mmio.device=4K@0xd0000000:5"), &log))
	assert.Empty(t, log.String())
	assert.True(t, w.Obey([]byte("virtio_mmio.device=\x1b[2J"), &log))
	assert.Equal(t, "command line: virtio_mmio.device=?[2J: want <size>@<base>:<irq>[:<id>], as in 4K@0xd0000000:5; the device is not used\n", log.String())
	assert.Len(t, w.All(), 1)
}

func FuzzWindow(f *testing.F) {
	for _, text := range []string{"4K@0xd0000000:5", "512@0xfeb00e00:12:3", "1G@0xffffffffffffffff:1"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var w Windows
		if w.add(text) != "" {
			return
		}
		at := w.All()[0]
		assert.GreaterOrEqual(t, at.Base, uint64(abi.MMIOHole))
		assert.Greater(t, at.Base+at.Size, at.Base)
		assert.LessOrEqual(t, at.Base+at.Size, uint64(abi.MMIOHoleEnd))
		assert.Less(t, at.Line, uint32(endLine))
	})
}
