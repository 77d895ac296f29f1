package task

import "kapsel/guest/abi"

// Numbers of the SHA driver, and of the HMAC driver.
const (
	shaData         = 0 // read-only allow
	shaDigest       = 0 // read-write allow
	shaSetAlgorithm = 1 // command
	shaHash         = 2
	shaHashed       = 0 // subscribe

	hmacKey          = 0 // read-only allow
	hmacData         = 1
	hmacCompare      = 2
	hmacDigest       = 2 // read-write allow
	hmacSetAlgorithm = 0 // command
	hmacRun          = 1
	hmacVerify       = 4
	hmacHashed       = 0 // subscribe
	hmacVerified     = 1
)

// DigestAlgorithm is a hash function.
type DigestAlgorithm uint32

// Hash functions, with digests of 32, 48 and 64 bytes.
const (
	SHA256 DigestAlgorithm = 0
	SHA384 DigestAlgorithm = 1
	SHA512 DigestAlgorithm = 2
)

// Digest fills digest with that of b. The error is abi.NOMEM if digest has another size than the algorithm's.
func Digest(algorithm DigestAlgorithm, digest, b []byte) error {
	err := Command(abi.DriverSHA, shaSetAlgorithm, uint32(algorithm), 0).Err()
	if err == nil {
		err = AllowReadOnly(abi.DriverSHA, shaData, b)
	}
	if err == nil {
		err = Allow(abi.DriverSHA, shaDigest, digest)
	}
	if err == nil {
		err = Command(abi.DriverSHA, shaHash, 0, 0).Err()
	}
	if err == nil {
		status, _, _ := WaitFor(abi.DriverSHA, shaHashed)
		err = failed(status)
	}
	AllowReadOnly(abi.DriverSHA, shaData, nil)
	Allow(abi.DriverSHA, shaDigest, nil)
	return err
}

// HMAC fills digest with the HMAC of b by a key of at most 256 bytes, or with as much of it as there is room for. The error is abi.SIZE for
// a longer key.
func HMAC(algorithm DigestAlgorithm, digest, key, b []byte) error {
	err := Allow(abi.DriverHMAC, hmacDigest, digest)
	if err == nil {
		_, err = keyed(algorithm, hmacRun, hmacHashed, key, b)
	}
	Allow(abi.DriverHMAC, hmacDigest, nil)
	return err
}

// VerifyHMAC reports whether digest is the HMAC of b by a key, in a time that does not tell where it differs.
func VerifyHMAC(algorithm DigestAlgorithm, digest, key, b []byte) (bool, error) {
	err := AllowReadOnly(abi.DriverHMAC, hmacCompare, digest)
	equal := uint32(0)
	if err == nil {
		equal, err = keyed(algorithm, hmacVerify, hmacVerified, key, b)
	}
	AllowReadOnly(abi.DriverHMAC, hmacCompare, nil)
	return equal == 1, err
}

// keyed gives a command of the HMAC driver and waits for its end.
func keyed(algorithm DigestAlgorithm, command, end uint32, key, b []byte) (value uint32, err error) {
	err = Command(abi.DriverHMAC, hmacSetAlgorithm, uint32(algorithm), 0).Err()
	if err == nil {
		err = AllowReadOnly(abi.DriverHMAC, hmacKey, key)
	}
	if err == nil {
		err = AllowReadOnly(abi.DriverHMAC, hmacData, b)
	}
	if err == nil {
		err = Command(abi.DriverHMAC, command, 0, 0).Err()
	}
	if err == nil {
		var status uint32
		status, value, _ = WaitFor(abi.DriverHMAC, end)
		err = failed(status)
	}
	AllowReadOnly(abi.DriverHMAC, hmacKey, nil)
	AllowReadOnly(abi.DriverHMAC, hmacData, nil)
	return value, err
}
