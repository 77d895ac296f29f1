//go:build kapsel_task

// Command computes has the drivers for checksums, digests, HMACs and ciphers compute what libtock-c's tests, RFCs and NIST's publications have
// the results of: by each command as libtock-c gives it, and by package task. tests/computing/testdata/computing32 is the same with 32 bits.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

//kapsel:heap 65536

const none = 99 // no upcall

// A row is a command, what it returns, and the upcall that then comes, if sn is not none.
type row struct {
	what            string
	command, a0, a1 uint32
	variant         abi.Variant
	value           uint64
	sn, u0, u1, u2  uint32
}

// crc are those of capsules/extra/src/crc.rs, with a buffer of text.
var crc = [...]row{
	{"0: exists", 0, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"1: CRC-32", 1, 0, 7, abi.Success, 0, 0, 0, 0x0e6f94bc, 0},
	{"1: CRC-32C", 1, 1, 7, abi.Success, 0, 0, 0, 0x2c775665, 1},
	{"1: CRC-16", 1, 2, 7, abi.Success, 0, 0, 0, 0x1541, 2},
	{"1: a part", 1, 2, 4, abi.Success, 0, 0, 0, 0xb34b, 2},
	{"1: no such algorithm", 1, 3, 7, abi.Failure, uint64(abi.INVAL), none, 0, 0, 0},
	{"1: more than the buffer has", 1, 0, 8, abi.Failure, uint64(abi.SIZE), none, 0, 0, 0},
	{"1: nothing", 1, 0, 0, abi.Failure, uint64(abi.SIZE), none, 0, 0, 0},
	{"2: unknown", 2, 0, 7, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
}

// sha are those of capsules/extra/src/sha256_driver.rs, with room for 32 bytes.
var sha = [...]row{
	{"0: exists", 0, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"2: SHA-256 if nothing else is said", 2, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: SHA-512", 1, 2, 0, abi.Success, 0, none, 0, 0, 0},
	{"2: a buffer of another size", 2, 0, 0, abi.Success, 0, 0, uint32(abi.NOMEM), 0, 0},
	{"1: no such algorithm", 1, 3, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
	{"1: SHA-256", 1, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"2: hash", 2, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"3: unknown", 3, 0, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
}

// hmac are those of capsules/extra/src/hmac.rs, with a digest to compare that is right for the whole message.
var hmac = [...]row{
	{"1: no algorithm", 1, 0, 0, abi.Failure, uint64(abi.INVAL), none, 0, 0, 0},
	{"0: exists, and SHA-256", 0, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"3: nothing to finish", 3, 0, 0, abi.Failure, uint64(abi.OFF), none, 0, 0, 0},
	{"5: nothing to finish", 5, 0, 0, abi.Failure, uint64(abi.OFF), none, 0, 0, 0},
	{"2: update", 2, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"5: verify finish", 5, 0, 0, abi.Success, 0, 1, 0, 1, 0},
	{"2: update", 2, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"2: and once more", 2, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"5: which is another message", 5, 0, 0, abi.Success, 0, 1, 0, 0, 0},
	{"4: verify", 4, 0, 0, abi.Success, 0, 1, 0, 1, 0},
	{"2: update", 2, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"3: finish", 3, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: run", 1, 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"0: SHA-1", 0, 4, 0, abi.Success, 0, none, 0, 0, 0},
	{"1: which is not there", 1, 0, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
	{"0: no such algorithm", 0, 6, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
	{"6: unknown", 6, 0, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
}

// aes are those of capsules/extra/src/symmetric_encryption/aes.rs, with a source of 48 bytes.
var aes = [...]row{
	{"0: exists", 0, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"2: no algorithm", 2, 0, 0, abi.Failure, uint64(abi.INVAL), none, 0, 0, 0},
	{"3: nothing to go on with", 3, 0, 0, abi.Failure, uint64(abi.OFF), none, 0, 0, 0},
	{"4: nothing to finish", 4, 0, 0, abi.Failure, uint64(abi.OFF), none, 0, 0, 0},
	{"1: no such algorithm", 1, 5, 1, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
	{"1: GCM", 1, 4, 1, abi.Success, 0, none, 0, 0, 0},
	{"2: which is not there", 2, 0, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
	{"1: CBC", 1, 1, 1, abi.Success, 0, none, 0, 0, 0},
	{"2: setup", 2, 0, 0, abi.Success, 0, 0, 0, 48, 0},
	{"3: crypt", 3, 0, 0, abi.Success, 0, 0, 0, 48, 0},
	{"4: finish", 4, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"3: it is finished", 3, 0, 0, abi.Failure, uint64(abi.OFF), none, 0, 0, 0},
	{"5: auth offset", 5, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"6: offset", 6, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"7: tag size", 7, 8, 0, abi.Success, 0, none, 0, 0, 0},
	{"8: confidential", 8, 1, 0, abi.Success, 0, none, 0, 0, 0},
	{"1: CCM", 1, 3, 1, abi.Success, 0, none, 0, 0, 0},
	{"2: setup", 2, 0, 0, abi.Success, 0, 0, 0, 48, 1},
	{"3: a message of CCM is one buffer", 3, 0, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
	{"1: decrypt", 1, 3, 0, abi.Success, 0, none, 0, 0, 0},
	{"2: the tag is wrong", 2, 0, 0, abi.Success, 0, 0, 0, 48, 0},
	{"4: finish", 4, 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"9: unknown", 9, 0, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
}

var (
	fired  uint32
	told   [3]uint32
	upcall = task.Upcall{F: func(a, b, c uint32) {
		fired++
		told = [3]uint32{a, b, c}
	}}
	wrong bool
)

// fail says what is not as it should be.
func fail(what string) {
	task.Print("computes: " + what + ": FAILED\n")
	wrong = true
}

// ask gives a row's command, and waits for the upcall that is to come.
func ask(driver uint32, r *row, waitsFor bool) {
	what := task.Hex(uint64(driver)) + ", command " + r.what
	fired = 0
	if r.sn != none && waitsFor {
		task.Subscribe(driver, r.sn, nil)
	} else if r.sn != none {
		task.Subscribe(driver, r.sn, &upcall)
	}
	got := task.Command(driver, r.command, r.a0, r.a1)
	switch {
	case got != task.Result{Variant: r.variant, Words: [3]uint64{r.value}}:
		fail(what)
		return
	case r.sn == none:
		return
	case waitsFor:
		told[0], told[1], told[2] = task.WaitFor(driver, r.sn)
	default:
		for fired == 0 {
			task.Yield()
		}
	}
	if fired > 1 || told != [3]uint32{r.u0, r.u1, r.u2} {
		fail(what + ", upcall")
	}
}

// bytes reads hexadecimal digits.
func bytes(digits string) []byte {
	value := func(c byte) byte {
		if c >= 'a' {
			return c - 'a' + 10
		}
		return c - '0'
	}
	b := make([]byte, len(digits)/2)
	for i := range b {
		b[i] = value(digits[2*i])<<4 | value(digits[2*i+1])
	}
	return b
}

// same looks whether a result is what it should be.
func same(what string, want, got []byte, err error) {
	if err != nil {
		fail(what + ": " + err.Error())
	} else if string(want) != string(got) {
		fail(what)
	}
}

const language = "A language empowering everyone to build reliable and efficient software."

func main() {
	key, vector := bytes("2b7e151628aed2a6abf7158809cf4f3c"), bytes("000102030405060708090a0b0c0d0e0f")
	room := make([]byte, 64)
	byCommands(key, vector, room)
	byLibrary(key, vector)
	if wrong {
		task.Exit(1)
	}
	task.Print("computes: all is as it should be\n")
	task.Exit(0)
}

// byCommands gives each command, and waits both ways.
func byCommands(key, vector, room []byte) {
	for _, number := range []uint32{0, 1, 2} {
		task.AllowReadOnly(abi.DriverAES, number, [][]byte{key, vector, []byte(language)[:48]}[number])
	}
	hmacKey, digest := bytes("010203040506070809a0a1"), bytes("b5055553bd5e75d4fc96bf2559d655b77a58aea8b4c4076c52f774851bba06d8")
	for _, number := range []uint32{0, 1, 2} {
		task.AllowReadOnly(abi.DriverHMAC, number, [][]byte{hmacKey, []byte(language), digest}[number])
	}
	task.Allow(abi.DriverAES, 0, room)
	task.Allow(abi.DriverHMAC, 2, room)
	task.Allow(abi.DriverSHA, 0, room[:32])
	task.AllowReadOnly(abi.DriverSHA, 0, []byte(language))
	task.AllowReadOnly(abi.DriverCRC, 0, []byte("ABCDEFG"))
	for _, waitsFor := range []bool{false, true} {
		for i := range crc {
			ask(abi.DriverCRC, &crc[i], waitsFor)
		}
		for i := range sha {
			ask(abi.DriverSHA, &sha[i], waitsFor)
		}
		same("libtock-c's examples/tests/sha", bytes("d91344acb529e08ac17bf4209e664248366c5d95ecfe95d1e5077780659a915b"), room[:32], nil)
		for i := range hmac {
			if i != 0 || !waitsFor { // the task chose one by then
				ask(abi.DriverHMAC, &hmac[i], waitsFor)
			}
		}
		same("libtock-c's examples/tests/hmac", digest, room[:32], nil)
		for i := range aes {
			if i != 1 || !waitsFor {
				ask(abi.DriverAES, &aes[i], waitsFor)
			}
		}
	}
}

// byLibrary calls package task.
func byLibrary(key, vector []byte) {
	much := make([]byte, 5000)
	for i := range much {
		much[i] = byte(i)
	}
	sum, err := task.CRC32C(much)
	same("CRC-32C of much", bytes("7a4ab48d"), be32(sum), err)
	sum, err = task.CRC32(much)
	same("CRC-32 of much", bytes("d23996e1"), be32(sum), err)
	_, err = task.CRC16(nil)
	if err != abi.SIZE {
		fail("CRC-16 of nothing")
	}
	var digest [64]byte
	err = task.Digest(task.SHA512, digest[:], []byte("abc"))
	same("SHA-512, FIPS 180's first example", bytes("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"+
		"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"), digest[:], err)
	err = task.HMAC(task.SHA384, digest[:48], []byte("Jefe"), []byte("what do ya want for nothing?"))
	same("HMAC-SHA-384, RFC 4231, 4.3", bytes("af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"), digest[:48], err)
	if ok, err := task.VerifyHMAC(task.SHA384, digest[:48], []byte("Jefe"), []byte("what do ya want for nothing?")); !ok || err != nil {
		fail("VerifyHMAC")
	}
	plain := bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
	out := make([]byte, len(plain))
	err = task.EncryptAES(task.AESCBC, out, key, vector, plain)
	same("AES-128-CBC, SP 800-38A, F.2.1", bytes("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"), out, err)
	err = task.DecryptAES(task.AESCBC, out, key, vector, out)
	same("AES-128-CBC, SP 800-38A, F.2.2", plain, out, err)
	encrypted := make([]byte, len(much))
	if task.EncryptAES(task.AESCTR, encrypted, key, vector, much) != nil || string(encrypted) == string(much) {
		fail("AES-128-CTR of much")
	}
	err = task.DecryptAES(task.AESCTR, encrypted, key, vector, encrypted)
	same("AES-128-CTR of much, and back", much, encrypted, err)
	byCCM()
}

// byCCM seals and opens the first packet of RFC 3610, 8.
func byCCM() {
	key, nonce := bytes("c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"), bytes("00000003020100a0a1a2a3a4a5")
	packet := bytes("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e")
	sealed := make([]byte, len(packet)+8)
	copy(sealed, packet[:8])
	err := task.SealCCM(sealed, key, nonce, packet, 8, 8)
	same("AES-128-CCM, RFC 3610, packet 1", bytes("0001020304050607588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"), sealed, err)
	opened := make([]byte, len(packet))
	ok, err := task.OpenCCM(opened, key, nonce, sealed, 8, 8)
	same("and opened", packet[8:], opened[8:], err)
	sealed[0]++
	if changed, _ := task.OpenCCM(opened, key, nonce, sealed, 8, 8); !ok || changed {
		fail("the tag")
	}
}

func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
