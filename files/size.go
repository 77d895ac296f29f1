package files

import (
	"math"
	"strconv"
	"strings"
)

// Size writes a number of bytes with the largest of K, M and G that divides it, as the commands read it.
func Size(n uint64) string {
	unit := ""
	for _, u := range []string{"K", "M", "G"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatUint(n, 10) + unit
}

// ParseSize reads what Size writes, with letters of either case: n units of so many bytes. It reports false if that is no number, or none of 64 bits.
func ParseSize(text string) (n, unit uint64, ok bool) {
	unit = 1
	if i := strings.IndexAny(text, "KMGkmg"); i >= 0 && i == len(text)-1 {
		text, unit = text[:i], map[byte]uint64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}[text[i]&^0x20]
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, unit, err == nil && n <= math.MaxUint64/unit
}
