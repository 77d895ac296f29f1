package task

import "kapsel/guest/abi"

// Numbers of the AES driver.
const (
	aesKey           = 0 // read-only allow
	aesVector        = 1
	aesSource        = 2
	aesDestination   = 0 // read-write allow
	aesSetAlgorithm  = 1 // command
	aesSetup         = 2
	aesFinish        = 4
	aesSetAuthOffset = 5 // and three others behind it
	aesCrypted       = 0 // subscribe
)

// AESMode is a mode of operation.
type AESMode uint32

// Modes. In CTR a message has any length; in CBC and ECB it is whole blocks of 16 bytes.
const (
	AESCTR AESMode = 0
	AESCBC AESMode = 1
	AESECB AESMode = 2
	aesCCM AESMode = 3
)

// EncryptAES fills dst with what AES-128 makes of src by a key of 16 bytes, and a vector or first counter of 16 bytes, which ECB has not. dst
// and src are as long as each other, and may be the same. The error is abi.INVAL for other sizes of key, vector or src, and abi.SIZE if dst is
// not as long as src.
func EncryptAES(mode AESMode, dst, key, vector, src []byte) error {
	return cryptAES(mode, true, dst, key, vector, src)
}

// DecryptAES does the reverse, with the same errors.
func DecryptAES(mode AESMode, dst, key, vector, src []byte) error {
	return cryptAES(mode, false, dst, key, vector, src)
}

func cryptAES(mode AESMode, encrypt bool, dst, key, vector, src []byte) error {
	if len(dst) != len(src) {
		return abi.SIZE
	}
	_, err := aes(mode, encrypt, dst, key, vector, src)
	return err
}

// SealCCM encrypts the message behind the first auth bytes of src by AES-128-CCM, with a key of 16 bytes, a nonce of 13 and a tag of 4, 6 and so on
// up to 16. dst gets, from its byte auth on, the encrypted message and behind it the tag, which is about the first bytes, too. The error is
// abi.SIZE unless dst is as much longer than src as the tag is, or if there are too many bytes (docs/abi.md), and else as EncryptAES has it.
func SealCCM(dst, key, nonce, src []byte, auth, tag int) error {
	if len(dst) != len(src)+tag {
		return abi.SIZE
	}
	_, err := ccm(true, dst, key, nonce, src, auth, tag)
	return err
}

// OpenCCM decrypts what SealCCM made, with the first bytes in front: src ends with the tag. It reports whether the tag is right: what dst has
// then is what was sealed, and else worth nothing.
func OpenCCM(dst, key, nonce, src []byte, auth, tag int) (bool, error) {
	if len(dst)+tag != len(src) {
		return false, abi.SIZE
	}
	right, err := ccm(false, dst, key, nonce, src, auth, tag)
	return right == 1, err
}

func ccm(encrypt bool, dst, key, nonce, src []byte, auth, tag int) (uint32, error) {
	for command, value := range [...]uint32{0, uint32(auth), uint32(tag), 1} {
		if err := Command(abi.DriverAES, aesSetAuthOffset+uint32(command), value, 0).Err(); err != nil {
			return 0, err
		}
	}
	return aes(aesCCM, encrypt, dst, key, nonce, src)
}

// aes gives the driver a message and waits for its end. It returns the upcall's last argument.
func aes(mode AESMode, encrypt bool, dst, key, vector, src []byte) (right uint32, err error) {
	direction := uint32(0)
	if encrypt {
		direction = 1
	}
	err = Command(abi.DriverAES, aesSetAlgorithm, uint32(mode), direction).Err()
	for number, b := range [...][]byte{aesKey: key, aesVector: vector, aesSource: src} {
		if err == nil {
			err = AllowReadOnly(abi.DriverAES, uint32(number), b)
		}
	}
	if err == nil {
		err = Allow(abi.DriverAES, aesDestination, dst)
	}
	if err == nil {
		err = Command(abi.DriverAES, aesSetup, 0, 0).Err()
	}
	if err == nil {
		var status uint32
		status, _, right = WaitFor(abi.DriverAES, aesCrypted)
		err = failed(status)
		Command(abi.DriverAES, aesFinish, 0, 0)
	}
	for number := range uint32(aesSource + 1) {
		AllowReadOnly(abi.DriverAES, number, nil)
	}
	Allow(abi.DriverAES, aesDestination, nil)
	return right, err
}
