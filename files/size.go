package files

import "strconv"

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
