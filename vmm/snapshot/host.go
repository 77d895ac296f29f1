package snapshot

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"sync"
)

// hostVendor is the vendor of the host's processors, by CPUID: "GenuineIntel".
var hostVendor = sync.OnceValues(func() (string, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "vendor_id" {
			return strings.TrimSpace(value), nil
		}
	}
	return "", errors.Join(errors.New("/proc/cpuinfo names no vendor of processors"), lines.Err())
})
