package http

// A class is a set of bytes that the grammar names.
type class uint8

const (
	token   class = 1 << iota // tchar (RFC 9110, 5.6.2)
	text                      // field-vchar, SP and HTAB (RFC 9110, 5.5)
	target                    // pchar and "/" (RFC 3986, 3.3), but for the percent sign
	host                      // of a name or an address of IPv4 (reg-name in RFC 3986, 3.2.2), but for the percent sign
	literal                   // of an address of IPv6
	digit
	hex
)

// classes are those of each byte.
var classes = classify()

func classify() (of [256]class) {
	add := func(members string, c class) {
		for i := range len(members) {
			of[members[i]] |= c
		}
	}
	const (
		digits     = "0123456789"
		letters    = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		unreserved = letters + digits + "-._~"
		subDelims  = "!$&'()*+,;="
	)
	add(digits, digit|hex)
	add("abcdefABCDEF", hex)
	add(letters+digits+"!#$%&'*+-.^_`|~", token)
	add(unreserved+subDelims+":@/", target)
	add(unreserved+subDelims, host)
	add(digits+"abcdefABCDEF:.", literal)
	for i := range of {
		if i >= ' ' && i != 0x7f || i == '\t' {
			of[i] |= text
		}
	}
	return of
}

// all reports whether each byte is of a class.
func all(b []byte, c class) bool {
	for _, v := range b {
		if classes[v]&c == 0 {
			return false
		}
	}
	return true
}

// index is where the first c lies in b, or the length of b.
func index(b []byte, c byte) int {
	for i, v := range b {
		if v == c {
			return i
		}
	}
	return len(b)
}

// trim takes away spaces and tabs at both ends (OWS, RFC 9110, 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// is reports whether b is a name, which is in lower case, in whatever case.
func is(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// lists reports whether a comma-separated list has a name, which is in lower case, in whatever case.
func lists(list []byte, name string) bool {
	for len(list) > 0 {
		n := index(list, ',')
		if is(trim(list[:n]), name) {
			return true
		}
		list = list[min(n+1, len(list)):]
	}
	return false
}

// isTarget reports whether b consists of the characters of a path, or of a query too, with whole percent encodings.
func isTarget(b []byte, query bool) bool {
	for i, v := range b {
		switch {
		case classes[v]&target != 0, v == '?' && query:
		case v == '%' && len(b)-i > 2 && all(b[i+1:i+3], hex):
		default:
			return false
		}
	}
	return true
}

// isHost reports whether b is uri-host [ ":" port ] (RFC 9110, 7.2). Names with percent encodings are none.
func isHost(b []byte) bool {
	var n int
	if len(b) > 0 && b[0] == '[' {
		n = min(index(b, ']')+1, len(b))
		if n < len("[::]") || b[n-1] != ']' || !all(b[1:n-1], literal) {
			return false
		}
	} else {
		n = index(b, ':')
		if !all(b[:n], host) {
			return false
		}
	}
	return n == len(b) || b[n] == ':' && all(b[n+1:], digit)
}
