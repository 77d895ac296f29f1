package amd64
func outb(port uint16, v byte)
func Test() { for _, c := range []byte("hello\n") { outb(0x3f8, c) }; var a [4]int; idx:=int(imageTasks[1]&7)+9; a[idx&15]=1
}
