package main

// prefixKey is Ctrl-A: the key behind it is for kapsel.
const prefixKey = 'a' & 0x1f

// A keyCommand is what the user asks of kapsel on the console.
type keyCommand int

const (
	keyHelp keyCommand = iota
	keyLeave
	keyButton // of button 0; those of others behind it
)

// keys separates what the user types into what is for the guest and what is for kapsel.
type keys struct {
	prefixed bool // the last byte was the prefix
}

// filter returns those of the typed bytes that are for the guest, in their front part, and tells do of the commands among them. It
// stops at keyLeave. A key that means nothing behind the prefix is dropped with it.
func (k *keys) filter(typed []byte, do func(keyCommand)) (guest []byte) {
	guest = typed[:0]
	for _, b := range typed {
		if !k.prefixed && b == prefixKey {
			k.prefixed = true
			continue
		}
		if !k.prefixed || b == prefixKey {
			guest = append(guest, b)
		} else if b == 'h' || b == 'H' || b == '?' {
			do(keyHelp)
		} else if b == 'x' || b == 'X' {
			do(keyLeave)
			return guest
		} else if '1' <= b && b <= '9' {
			do(keyButton + keyCommand(b-'1'))
		}
		k.prefixed = false
	}
	return guest
}
