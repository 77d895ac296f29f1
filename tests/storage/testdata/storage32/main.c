// The drivers of nonvolatile storage and the key-value store by Tock's x86 convention, each command called as libtock-c does: subscribe,
// allow, command, and then Yield-Wait until the upcall ran, and once more with Yield-WaitFor. The region has 3 pages. The task ends with
// the line of the first check that failed as its completion code, or with 0. tests/guest/caller is the same with 64 bits.

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
enum { FAILURE = 0, SUCCESS = 128, SUCCESS_U32 = 129, SUCCESS_2U32 = 130 };
enum { RESERVE = 5, INVAL = 6, SIZE = 7, NOMEM = 9, NOSUPPORT = 10 };
enum { NO_WAIT, WAIT, WAIT_FOR };
enum { NONE = 99, REGION = 3 * 4096, ROOM = 6000 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static u8 in[ROOM], out[ROOM];

static volatile u32 fired, told[3], userdata;

static void upcall(u32 a, u32 b, u32 c, u32 data) {
    fired++;
    told[0] = a, told[1] = b, told[2] = c, userdata = data;
}

// A row is a command with buffers of so many bytes, what it returns, and the upcall that then comes, if sn is not NONE.
struct row { u32 line, command, a0, a1, room, variant, value, sn, u0, u1; };

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
        return e.r[0] == r->u0 && e.r[1] == r->u1 && e.r[2] == 0 ? 0 : r->line;
    }
    while (!fired) call(YIELD, WAIT, 0, 0, 0);
    return fired == 1 && told[0] == r->u0 && told[1] == r->u1 && told[2] == 0 && userdata == 0x1234 ? 0 : r->line;
}

static int step(u32 driver, const struct row *r, int waits_for) {
    CHECK(call(ALLOW_RO, driver, 0, r->room ? (u32)out : 0, r->room).r[0] == SUCCESS_2U32);
    CHECK(call(ALLOW_RW, driver, 0, r->room ? (u32)in : 0, r->room).r[0] == SUCCESS_2U32);
    return ask(driver, r, waits_for);
}

static int steps(u32 driver, const struct row *rows, u32 n) {
    for (int waits_for = 0; waits_for < 2; waits_for++)
        for (u32 i = 0; i < n; i++) {
            int line = step(driver, &rows[i], waits_for);
            if (line) return line;
        }
    return 0;
}

#define ROW(...) { __LINE__, __VA_ARGS__ }

// capsules/extra/src/nonvolatile_storage_driver.rs
static const struct row nonvolatile[] = {
    ROW(0, 0, 0, 0, SUCCESS, 0, NONE, 0, 0),                     // it exists
    ROW(1, 0, 0, 0, SUCCESS_U32, REGION, NONE, 0, 0),            // size
    ROW(3, 100, ROOM, ROOM, SUCCESS, 0, 1, ROOM, 0),             // write: offset, length
    ROW(2, 100, ROOM, ROOM, SUCCESS, 0, 0, ROOM, 0),             // read: offset, length
    ROW(2, 0, REGION, 10, SUCCESS, 0, 0, 10, 0),                 // no more than the buffer has
    ROW(3, 0, 0, 10, SUCCESS, 0, 1, 0, 0),                       // nothing
    ROW(2, REGION, 1, 10, FAILURE, INVAL, NONE, 0, 0),           // behind the end
    ROW(3, 1, REGION, 10, FAILURE, INVAL, NONE, 0, 0),
    ROW(3, 0xffffffff, 0xffffffff, 10, FAILURE, INVAL, NONE, 0, 0),
    ROW(2, 0, 10, 0, FAILURE, RESERVE, NONE, 0, 0),              // no buffer
    ROW(3, 0, 10, 0, FAILURE, RESERVE, NONE, 0, 0),
    ROW(4, 0, 0, 10, FAILURE, NOSUPPORT, NONE, 0, 0),
};

// capsules/extra/src/isolated_nonvolatile_storage_driver.rs
static const struct row isolated[] = {
    ROW(0, 0, 0, 0, SUCCESS, 0, NONE, 0, 0),                     // it exists
    ROW(1, 0, 0, 0, SUCCESS, 0, 0, 0, REGION),                   // size
    ROW(3, 100, 0, ROOM, SUCCESS, 0, 2, 0, ROOM),                // write: offset, its high word
    ROW(2, 100, 0, ROOM, SUCCESS, 0, 1, 0, ROOM),                // read: offset, its high word
    ROW(2, REGION - 10, 0, 10, SUCCESS, 0, 1, 0, 10),            // up to the end
    ROW(2, REGION - 9, 0, 10, SUCCESS, 0, 1, INVAL, 0),          // and behind it
    ROW(3, 0, 1, 10, SUCCESS, 0, 2, INVAL, 0),
    ROW(3, 0xffffffff, 0xffffffff, 10, SUCCESS, 0, 2, INVAL, 0),
    ROW(2, 0, 0, 0, SUCCESS, 0, 1, RESERVE, 0),                  // no buffer
    ROW(3, 0, 0, 0, SUCCESS, 0, 2, RESERVE, 0),
    ROW(4, 0, 0, 10, FAILURE, NOSUPPORT, NONE, 0, 0),
};

// keeps looks that what was written is what is read.
static int keeps(u32 driver, const struct row *write, const struct row *read, u8 seed) {
    for (u32 i = 0; i < ROOM; i++) out[i] = i * 7 + seed, in[i] = 0;
    CHECK(step(driver, write, 1) == 0);
    CHECK(step(driver, read, 1) == 0);
    for (u32 i = 0; i < ROOM; i++) CHECK(in[i] == (u8)(i * 7 + seed));
    return 0;
}

enum { KV = 0x50003, LONGEST_KEY = 64, LONGEST = 2048 };

// A kv is a command of the key-value store about the first bytes of key and value, which of these then are in the result's room. The
// status and the length are the upcall's.
struct kv { u32 line, command; const char *key; u32 key_size, value_size, room, variant, value, sn, status, length, got; };

static const char long_key[LONGEST_KEY + 1] = "a key of 64 bytes, which is as long as one may be; and this is 1";

// capsules/extra/src/kv_driver.rs, with the statuses of capsules/extra/src/kv_store_permissions.rs and of
// doc/syscalls/50003_key_value.md.
static const struct kv key_value[] = {
    ROW(0, "k", 1, 0, 0, SUCCESS, 0, NONE, 0, 0, 0),                       // it exists
    ROW(1, "k", 1, 0, 99, SUCCESS, 0, 0, NOSUPPORT, 0, 0),                 // get: there is none
    ROW(2, "k", 1, 5, 99, SUCCESS, 0, 0, 0, 0, 0),                         // set
    ROW(1, "k", 1, 0, 99, SUCCESS, 0, 0, 0, 5, 5),
    ROW(1, "k", 1, 0, 5, SUCCESS, 0, 0, 0, 5, 5),
    ROW(1, "k", 1, 0, 3, SUCCESS, 0, 0, SIZE, 5, 3),                       // what fits, and the whole length
    ROW(1, "k", 1, 0, 0, SUCCESS, 0, 0, SIZE, 5, 0),
    ROW(2, "k", 1, 700, 0, SUCCESS, 0, 0, 0, 0, 0),                        // set: there is one
    ROW(1, "k", 1, 0, 700, SUCCESS, 0, 0, 0, 700, 700),
    ROW(4, "k", 1, 9, 0, SUCCESS, 0, 0, NOSUPPORT, 0, 0),                  // add: there is one
    ROW(4, "a", 1, 9, 0, SUCCESS, 0, 0, 0, 0, 0),                          // add
    ROW(1, "a", 1, 0, 99, SUCCESS, 0, 0, 0, 9, 9),
    ROW(5, "none", 4, 9, 0, SUCCESS, 0, 0, NOSUPPORT, 0, 0),               // update: there is none
    ROW(5, "a", 1, 19, 0, SUCCESS, 0, 0, 0, 0, 0),                         // update
    ROW(1, "a", 1, 0, 99, SUCCESS, 0, 0, 0, 19, 19),
    ROW(3, "none", 4, 0, 0, SUCCESS, 0, 0, NOSUPPORT, 0, 0),               // delete: there is none
    ROW(3, "a", 1, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                          // delete
    ROW(1, "a", 1, 0, 99, SUCCESS, 0, 0, NOSUPPORT, 0, 0),
    ROW(2, "", 0, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                           // nothing, of no name
    ROW(1, "", 0, 0, 0, SUCCESS, 0, 0, 0, 0, 0),
    ROW(3, "", 0, 0, 0, SUCCESS, 0, 0, 0, 0, 0),
    ROW(2, long_key, LONGEST_KEY, LONGEST, 0, SUCCESS, 0, 0, 0, 0, 0),     // as long as may be
    ROW(1, long_key, LONGEST_KEY, 0, LONGEST, SUCCESS, 0, 0, 0, LONGEST, LONGEST),
    ROW(3, long_key, LONGEST_KEY, 0, 0, SUCCESS, 0, 0, 0, 0, 0),
    ROW(1, long_key, LONGEST_KEY + 1, 0, 9, FAILURE, SIZE, NONE, 0, 0, 0), // longer
    ROW(2, long_key, LONGEST_KEY + 1, 9, 0, FAILURE, SIZE, NONE, 0, 0, 0),
    ROW(2, "k", 1, LONGEST + 1, 0, FAILURE, SIZE, NONE, 0, 0, 0),
    ROW(6, "", 0, 0, 0, SUCCESS, 0, 0, 0, 0, 0),                           // there is no garbage
    ROW(7, "k", 1, 0, 0, FAILURE, NOSUPPORT, NONE, 0, 0, 0),
    ROW(3, "k", 1, 0, 0, SUCCESS, 0, 0, 0, 0, 0),
};

static int kv_step(const struct kv *r, int waits_for) {
    const struct row command = {r->line, r->command, 0, 0, 0, r->variant, r->value, r->sn, r->status, r->length};
    CHECK(call(ALLOW_RO, KV, 0, (u32)r->key, r->key_size).r[0] == SUCCESS_2U32);
    CHECK(call(ALLOW_RO, KV, 1, (u32)out, r->value_size).r[0] == SUCCESS_2U32);
    CHECK(call(ALLOW_RW, KV, 0, (u32)in, r->room).r[0] == SUCCESS_2U32);
    for (u32 i = 0; i < ROOM; i++) in[i] = 0;
    int line = ask(KV, &command, waits_for);
    for (u32 i = 0; i < ROOM; i++)
        if (in[i] != (i < r->got ? out[i] : 0)) return r->line;
    return line;
}

static int kv_steps(void) {
    for (u32 i = 0; i < ROOM; i++) out[i] = i * 7 + 3;
    for (int waits_for = 0; waits_for < 2; waits_for++)
        for (u32 i = 0; i < sizeof key_value / sizeof *key_value; i++) {
            int line = kv_step(&key_value[i], waits_for);
            if (line) return line;
        }
    // One request of a task at a time: another one is refused, and the first goes on, unless it has ended by then.
    CHECK(call(ALLOW_RO, KV, 0, (u32)long_key, LONGEST_KEY).r[0] == SUCCESS_2U32);
    CHECK(call(COMMAND, KV, 2, 0, 0).r[0] == SUCCESS);
    words w = call(COMMAND, KV, 1, 0, 0);
    if (w.r[0] == SUCCESS) return 0;
    CHECK(w.r[0] == FAILURE && w.r[1] == NOMEM);
    CHECK(call(YIELD, WAIT_FOR, KV, 0, 0).r[0] == 0);
    return 0;
}

int main(void) {
    int line = steps(0x50001, nonvolatile, sizeof nonvolatile / sizeof *nonvolatile);
    if (!line) line = steps(0x50004, isolated, sizeof isolated / sizeof *isolated);
    if (!line) line = keeps(0x50001, &nonvolatile[2], &nonvolatile[3], 1);
    if (!line) line = keeps(0x50004, &isolated[2], &isolated[3], 2);
    if (!line) line = kv_steps();
    return line;
}
