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
