package task

import "kapsel/guest/abi"

// Numbers of the random number driver.
const (
	rngBuffer = 0 // read-write allow
	rngGet    = 1 // command
	rngGotten = 0 // subscribe
)

// Random fills b with random bytes from the machine's source of entropy. It returns the error of a machine without one,
// abi.NODEVICE, or of one whose source is broken.
func Random(b []byte) error {
	for len(b) > 0 {
		n, err := random(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// random fills b, or as much of it as one request can be about, and returns how much that was.
func random(b []byte) (n uint32, err error) {
	asked := uint32(min(len(b), 1<<20))
	if err := Allow(abi.DriverRNG, rngBuffer, b[:asked]); err != nil {
		return 0, err
	}
	err = Command(abi.DriverRNG, rngGet, asked, 0).Err()
	if err == nil {
		var status uint32
		status, n, _ = WaitFor(abi.DriverRNG, rngGotten)
		if e := abi.ErrorCode(status); e != abi.OK {
			err = e
		}
	}
	Allow(abi.DriverRNG, rngBuffer, nil)
	return n, err
}

// Entropy fills b with random bytes that nobody can foresee: Random's, or those of the processor (RDRAND) in a machine without a
// source of its own. The error is abi.NODEVICE if the processor has none either, and else Random's.
func Entropy(b []byte) error {
	err := Random(b)
	if err != abi.NODEVICE || !fromProcessor(b) {
		return err
	}
	return nil
}

// fromProcessor fills b by RDRAND, and reports whether it could. It is asked ten times for a number (Intel SDM vol. 1, 7.3.17.1),
// and not believed if it has the same one twice, as a broken one of AMD's has.
func fromProcessor(b []byte) bool {
	var last uint64
	for len(b) > 0 && hasRDRAND() {
		v, ok := rdrand()
		for tries := 1; !ok && tries < 10; tries++ {
			v, ok = rdrand()
		}
		if !ok || v == last {
			return false
		}
		last = v
		for i := range min(8, len(b)) {
			b[i] = byte(v >> (8 * i))
		}
		b = b[min(8, len(b)):]
	}
	return len(b) == 0
}

// hasRDRAND reports whether the processor has the instruction (CPUID leaf 1, ECX, bit 30).
func hasRDRAND() bool

// rdrand returns a random number, or false if there is none at the moment.
func rdrand() (v uint64, ok bool)
