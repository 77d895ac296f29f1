// The drivers for checksums, digests, HMACs and ciphers by Tock's x86 convention, each command called as libtock-c does: subscribe, allow,
// command, and then Yield-Wait until the upcall ran, and once more with Yield-WaitFor. The task ends with the line of the first check that failed
// as its completion code, or with 0. tests/guest/computes is the same with 64 bits.

typedef unsigned int u32;
typedef unsigned char u8;
typedef struct { u32 r[4]; } words;

void tock(u32 class, u32 *words);

static words call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO };
enum { FAILURE = 0, SUCCESS = 128, SUCCESS_2U32 = 130 };
enum { OFF = 4, INVAL = 6, SIZE = 7, NOMEM = 9, NOSUPPORT = 10 };
enum { NO_WAIT, WAIT, WAIT_FOR };
enum { CRC = 0x40002, HMAC = 0x40003, SHA = 0x40005, AES = 0x40006 };
enum { NONE = 99 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static volatile u32 fired, told[3], userdata;

static void upcall(u32 a, u32 b, u32 c, u32 data) {
    fired++;
    told[0] = a, told[1] = b, told[2] = c, userdata = data;
}

// A row is a command, what it returns, and the upcall that then comes, if sn is not NONE.
struct row { u32 line, command, a0, a1, variant, value, sn, u0, u1, u2; };

// ask gives a command, and waits for the upcall that is to come.
static int ask(u32 driver, const struct row *r, int waits_for) {
    if (r->sn != NONE)
        CHECK(call(SUBSCRIBE, driver, r->sn, waits_for ? 0 : (u32)upcall, 0x1234).r[0] == SUCCESS_2U32);
    fired = 0;
    words w = call(COMMAND, driver, r->command, r->a0, r->a1);
    if (w.r[0] != r->variant || w.r[1] != r->value || w.r[2] != 0 || w.r[3] != 0) return r->line;
    if (r->sn == NONE) return 0;
    if (waits_for) {
        words e = call(YIELD, WAIT_FOR, driver, r->sn, 0);
        return e.r[0] == r->u0 && e.r[1] == r->u1 && e.r[2] == r->u2 ? 0 : r->line;
    }
    while (!fired) call(YIELD, WAIT, 0, 0, 0);
    return fired == 1 && told[0] == r->u0 && told[1] == r->u1 && told[2] == r->u2 && userdata == 0x1234 ? 0 : r->line;
}

#define ROW(...) { __LINE__, __VA_ARGS__ }

// capsules/extra/src/crc.rs, with a buffer of libtock-c's test_cases.h
static const struct row crc[] = {
    ROW(0, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // it exists
    ROW(1, 0, 7, SUCCESS, 0, 0, 0, 0x0e6f94bc, 0),               // CRC-32
    ROW(1, 1, 7, SUCCESS, 0, 0, 0, 0x2c775665, 1),               // CRC-32C
    ROW(1, 2, 7, SUCCESS, 0, 0, 0, 0x1541, 2),                   // CRC-16
    ROW(1, 2, 4, SUCCESS, 0, 0, 0, 0xb34b, 2),                   // of a part
    ROW(1, 3, 7, FAILURE, INVAL, NONE, 0, 0, 0),                 // no such algorithm
    ROW(1, 0, 8, FAILURE, SIZE, NONE, 0, 0, 0),                  // more than the buffer has
    ROW(1, 0, 0, FAILURE, SIZE, NONE, 0, 0, 0),                  // nothing
    ROW(2, 0, 7, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
};

// capsules/extra/src/sha256_driver.rs, with room for 32 bytes
static const struct row sha[] = {
    ROW(0, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // it exists
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                        // SHA-256, if nothing else is said
    ROW(1, 2, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // SHA-512
    ROW(2, 0, 0, SUCCESS, 0, 0, NOMEM, 0, 0),                    // the buffer has another size
    ROW(1, 3, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
    ROW(1, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // SHA-256
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 0, 0),
    ROW(3, 0, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
};

// capsules/extra/src/hmac.rs, with a digest to compare that is right for the whole message
static const struct row hmac[] = {
    ROW(0, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // it exists, and SHA-256
    ROW(3, 0, 0, FAILURE, OFF, NONE, 0, 0, 0),                   // nothing to finish
    ROW(5, 0, 0, FAILURE, OFF, NONE, 0, 0, 0),
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                        // update
    ROW(5, 0, 0, SUCCESS, 0, 1, 0, 1, 0),                        // verify finish
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                        // update twice
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 0, 0),
    ROW(5, 0, 0, SUCCESS, 0, 1, 0, 0, 0),                        // which is another message
    ROW(4, 0, 0, SUCCESS, 0, 1, 0, 1, 0),                        // verify
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 0, 0),
    ROW(3, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                        // finish
    ROW(1, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                        // run
    ROW(0, 4, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // SHA-1
    ROW(1, 0, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),             // which is not there
    ROW(0, 6, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
    ROW(6, 0, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
};

// capsules/extra/src/symmetric_encryption/aes.rs, with a source of 96 bytes and a room of 104
static const struct row aes_before[] = {
    ROW(2, 0, 0, FAILURE, INVAL, NONE, 0, 0, 0),                 // no algorithm
    ROW(1, 5, 1, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
    ROW(1, 4, 1, SUCCESS, 0, NONE, 0, 0, 0),                     // GCM
    ROW(2, 0, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),             // which is not there
};
static const struct row aes_ctr[] = {
    ROW(0, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // it exists
    ROW(3, 0, 0, FAILURE, OFF, NONE, 0, 0, 0),                   // nothing to go on with
    ROW(4, 0, 0, FAILURE, OFF, NONE, 0, 0, 0),                   // nor to finish
    ROW(1, 0, 1, SUCCESS, 0, NONE, 0, 0, 0),                     // CTR
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 96, 0),                       // setup
    ROW(3, 0, 0, SUCCESS, 0, 0, 0, 96, 0),                       // crypt goes on
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 96, 0),                       // setup begins anew
    ROW(4, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // finish
    ROW(9, 0, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
};
static const struct row aes_ccm[] = {
    ROW(5, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),
    ROW(6, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),
    ROW(7, 8, 0, SUCCESS, 0, NONE, 0, 0, 0),                     // a tag of 8 bytes
    ROW(1, 3, 1, SUCCESS, 0, NONE, 0, 0, 0),
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 96, 1),
    ROW(3, 0, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),             // a message is one buffer
    ROW(4, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),
};
static const struct row aes_ccm_back[] = {
    ROW(1, 3, 0, SUCCESS, 0, NONE, 0, 0, 0),
    ROW(2, 0, 0, SUCCESS, 0, 0, 0, 104, 1),                      // the tag is right
    ROW(4, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),
};

static const char text[96] = "A language empowering everyone to build reliable and efficient software.";
enum { TEXT = 72 };

static const u8 digest[32] = {
    0xd9, 0x13, 0x44, 0xac, 0xb5, 0x29, 0xe0, 0x8a, 0xc1, 0x7b, 0xf4, 0x20, 0x9e, 0x66, 0x42, 0x48,
    0x36, 0x6c, 0x5d, 0x95, 0xec, 0xfe, 0x95, 0xd1, 0xe5, 0x07, 0x77, 0x80, 0x65, 0x9a, 0x91, 0x5b,
};
static const u8 hmac_key[11] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa0, 0xa1 };
static const u8 hmac_digest[32] = {
    0xb5, 0x05, 0x55, 0x53, 0xbd, 0x5e, 0x75, 0xd4, 0xfc, 0x96, 0xbf, 0x25, 0x59, 0xd6, 0x55, 0xb7,
    0x7a, 0x58, 0xae, 0xa8, 0xb4, 0xc4, 0x07, 0x6c, 0x52, 0xf7, 0x74, 0x85, 0x1b, 0xba, 0x06, 0xd8,
};
static const u8 aes_key[16] = { 0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c };
static const u8 counter[16] = { 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff };
static const u8 ctr_start[16] = { 0xad, 0xac, 0xb3, 0x12, 0xf6, 0x07, 0x09, 0xd1, 0x95, 0xb7, 0x36, 0x10, 0x87, 0xee, 0xce, 0x93 };
static const u8 ccm_start[16] = { 0x4a, 0x59, 0x3d, 0x26, 0x2a, 0xe0, 0xeb, 0xbb, 0xa4, 0x53, 0x88, 0x5a, 0x0a, 0xdc, 0x62, 0xd3 };

static u8 out[104], back[104];

static int same(const void *a, const void *b, u32 n) {
    for (u32 i = 0; i < n; i++)
        if (((const u8 *)a)[i] != ((const u8 *)b)[i]) return 0;
    return 1;
}

static int steps(u32 driver, const struct row *rows, u32 n, int waits_for) {
    for (u32 i = 0; i < n; i++) {
        int line = ask(driver, &rows[i], waits_for);
        if (line) return line;
    }
    return 0;
}

#define ALL(driver, rows) do { int l = steps(driver, rows, sizeof rows / sizeof *rows, waits_for); if (l) return l; } while (0)
#define SHARE(class, driver, number, p, n) CHECK(call(class, driver, number, (u32)(p), n).r[0] == SUCCESS_2U32)

static int checksums_and_digests(int waits_for) {
    SHARE(ALLOW_RO, CRC, 0, "ABCDEFG", 7);
    ALL(CRC, crc);
    SHARE(ALLOW_RO, SHA, 0, text, TEXT);
    SHARE(ALLOW_RW, SHA, 0, out, 32);
    ALL(SHA, sha);
    CHECK(same(out, digest, 32));
    SHARE(ALLOW_RO, HMAC, 0, hmac_key, sizeof hmac_key);
    SHARE(ALLOW_RO, HMAC, 1, text, TEXT);
    SHARE(ALLOW_RO, HMAC, 2, hmac_digest, 32);
    SHARE(ALLOW_RW, HMAC, 2, out, 32);
    ALL(HMAC, hmac);
    CHECK(same(out, hmac_digest, 32));
    return 0;
}

static int ciphers(int waits_for) {
    SHARE(ALLOW_RO, AES, 0, aes_key, 16);
    SHARE(ALLOW_RO, AES, 1, counter, 16);
    SHARE(ALLOW_RO, AES, 2, text, 96);
    SHARE(ALLOW_RW, AES, 0, out, 104);
    if (!waits_for) ALL(AES, aes_before);
    ALL(AES, aes_ctr);
    CHECK(same(out, ctr_start, 16));
    ALL(AES, aes_ccm);
    CHECK(same(out, ccm_start, 16));
    SHARE(ALLOW_RO, AES, 2, out, 104);
    SHARE(ALLOW_RW, AES, 0, back, 104);
    ALL(AES, aes_ccm_back);
    CHECK(same(back, text, 96));
    return 0;
}

int main(void) {
    for (int waits_for = 0; waits_for < 2; waits_for++) {
        int line = checksums_and_digests(waits_for);
        if (!line) line = ciphers(waits_for);
        if (line) return line;
    }
    return 0;
}
