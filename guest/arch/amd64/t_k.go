//go:build kapsel
package amd64
import _ "unsafe"
//go:linkname die kapsel.die
func die(m string, pc, fp uintptr) { for i := range len(m) { outb(0x3f8, m[i]) }
 n,f,l,_ := frame(pc); for i := range len(n) { outb(0x3f8, n[i]) };for i := range len(f) { outb(0x3f8, f[i]) }; outb(0x3f8, byte('0'+l)); outb(0xf4,5); for {} }
//go:linkname frame kapsel.frame
func frame(pc uintptr) (name, file string, line int, ok bool)
