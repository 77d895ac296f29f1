package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// checkRNG reads the hardware's random numbers twice, from the device that virtio-rng makes.
func checkRNG(arguments) error {
	current, err := os.ReadFile("/sys/class/misc/hw_random/rng_current")
	if err != nil {
		return err
	}
	name := strings.TrimSpace(string(current))
	if !strings.HasPrefix(name, "virtio_rng") {
		return fmt.Errorf("the random numbers come from %q, want virtio_rng", name)
	}
	f, err := os.Open("/dev/hwrng")
	if err != nil {
		return err
	}
	defer f.Close()
	first, second := make([]byte, 4096), make([]byte, 4096)
	for _, b := range [][]byte{first, second} {
		if _, err := io.ReadFull(f, b); err != nil {
			return err
		}
	}
	if bytes.Equal(first, second) {
		return fmt.Errorf("4096 bytes come twice, first % x", first[:16])
	}
	for _, b := range [][]byte{first, second} {
		if n := bytes.Count(b, []byte{0}); n > 128 { // 16 are to be expected
			return fmt.Errorf("%d of 4096 bytes are 0", n)
		}
	}
	fmt.Printf("rng: 8192 bytes from %s\n", name)
	return nil
}
