// A program for Tock's x86 port that loads copies of itself and unloads them, and looks at tasks, by the calls of libtock-c
// (libtock/kernel/app_loader.c, process_info.c). It ends with the line of the first check that failed as its completion code, less 97 if that is above,
// with 98 if it has no such drivers, or with 0. A copy waits for ever.

typedef unsigned int u32;
typedef unsigned char u8;
typedef struct { u32 r[4]; } words;

void tock(u32 class, u32 *words);

static words call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO, MEMOP };
enum { FAILURE = 0, SUCCESS = 128, SUCCESS_U32 = 129 };
enum { FAIL = 1, BUSY = 2, RESERVE = 5, INVAL = 6, NOSUPPORT = 10, NODEVICE = 11 };
enum { ALARM = 0, LOADER = 0x10001, INFO = 0x10002 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static int is(words w, u32 r0, u32 r1, u32 r2, u32 r3) {
    return w.r[0] == r0 && w.r[1] == r1 && w.r[2] == r2 && w.r[3] == r3;
}
static words command(u32 driver, u32 number, u32 a, u32 b) { return call(COMMAND, driver, number, a, b); }
static int succeeded(words w) { return is(w, SUCCESS, 0, 0, 0); }
static int failed(words w, u32 error) { return is(w, FAILURE, error, 0, 0); }
static int gives(words w, u32 value) { return is(w, SUCCESS_U32, value, 0, 0); }

// waits for an event, which has no function.
static words wait(u32 driver, u32 number) { return call(YIELD, 2, driver, number, 0); }
static int ends(u32 number, u32 status, u32 more) { return is(wait(LOADER, number), status, more, 0, 0); }

enum { SHORT_ID = 0x1000, PIECE = 4096 };

static u8 piece[PIECE];
static u32 info[64];

static u32 word(const u8 *p) { return p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24; }
static void set_word(u8 *p, u32 v) { p[0] = v, p[1] = v >> 8, p[2] = v >> 16, p[3] = v >> 24; }

// renames gives a header another ShortID (element 10), and the checksum that it has then.
static int renames(u8 *header, u32 id) {
    u32 size = header[2] | header[3] << 8;
    for (u32 at = 16; at < size; at += 4 + (((header[at + 2] | header[at + 3] << 8) + 3) & ~3u)) {
        if ((header[at] | header[at + 1] << 8) != 10) continue;
        set_word(header + 12, word(header + 12) ^ word(header + at + 4) ^ id);
        set_word(header + at + 4, id);
        return 1;
    }
    return 0;
}

// capsules/extra/src/app_loader.rs
static int loads(u32 id, u32 status) {
    u32 start = call(MEMOP, 4, 0, 0, 0).r[1], size = call(MEMOP, 5, 0, 0, 0).r[1] - start;
    CHECK(succeeded(command(LOADER, 1, size, 0)));
    CHECK(ends(0, 0, 0));
    CHECK(failed(command(LOADER, 1, size, 0), INVAL));
    CHECK(failed(command(LOADER, 2, size, 1), INVAL));
    for (u32 at = 0; at < size; at += PIECE) {
        u32 n = size - at < PIECE ? size - at : PIECE;
        for (u32 i = 0; i < n; i++) piece[i] = ((const volatile u8 *)start)[at + i];
        if (at == 0) CHECK(renames(piece, id));
        CHECK(is(call(ALLOW_RO, LOADER, 0, (u32)piece, n), 130, at ? (u32)piece : 0, at ? PIECE : 0, 0));
        CHECK(succeeded(command(LOADER, 2, at, n)));
        CHECK(ends(1, 0, n));
    }
    CHECK(call(ALLOW_RO, LOADER, 0, 0, 0).r[0] == 130);
    CHECK(failed(command(LOADER, 2, 0, 8), RESERVE));
    CHECK(failed(command(LOADER, 4, 0, 0), INVAL));
    CHECK(succeeded(command(LOADER, 3, 0, 0)));
    CHECK(ends(2, 0, 0));
    CHECK(failed(command(LOADER, 5, 0, 0), INVAL));
    CHECK(succeeded(command(LOADER, 4, 0, 0)));
    CHECK(ends(3, status, 0));
    return 0;
}

// sleeps for milliseconds.
static void sleep(u32 ms) {
    command(ALARM, 5, ms * 1000, 0);
    wait(ALARM, 0);
}

// capsules/extra/src/process_info_driver.rs
static int looks(u32 id) {
    static const char name[] = "install32";
    CHECK(gives(command(INFO, 1, 0, 0), 2));
    CHECK(gives(command(INFO, 2, 0, 0), 2));
    CHECK(info[0] == 1 && info[1] > 1);
    u32 pid = info[1];
    CHECK(gives(command(INFO, 3, 0, 0), 2));
    CHECK(info[0] == SHORT_ID && info[1] == id);
    CHECK(gives(command(INFO, 4, pid, 0), sizeof name - 1));
    for (u32 i = 0; i < sizeof name - 1; i++) CHECK(((u8 *)info)[i] == name[i]);
    CHECK(failed(command(INFO, 4, 9999, 0), INVAL));
    do {
        sleep(1);
        CHECK(succeeded(command(INFO, 5, pid, 0)));
    } while (info[3] == 0);
    CHECK(info[2] == 0 && info[3] == 2);
    CHECK(succeeded(command(INFO, 6, pid, 2)));
    CHECK(succeeded(command(INFO, 5, pid, 0)) && info[3] == 3);
    CHECK(succeeded(command(INFO, 6, pid, 1)));
    CHECK(succeeded(command(INFO, 5, pid, 0)) && info[3] == 2);
    CHECK(failed(command(INFO, 6, 9999, 1), INVAL));
    CHECK(failed(command(INFO, 7, 0, 0), NOSUPPORT));
    return 0;
}

static int installs(void) {
    u32 line;
    CHECK(succeeded(command(LOADER, 0, 0, 0)));
    CHECK(failed(command(LOADER, 7, 0, 0), NOSUPPORT));
    CHECK(failed(command(LOADER, 5, 0, 0), INVAL));
    CHECK(failed(command(LOADER, 6, 0, 0), INVAL));
    CHECK(failed(command(LOADER, 6, 77, 0), INVAL));
    CHECK(failed(command(LOADER, 1, ~0u, 0), FAIL));
    if ((line = loads(SHORT_ID, FAIL))) return line; // it is this application
    for (u32 id = SHORT_ID + 1; id < SHORT_ID + 5; id++) {
        if ((line = loads(id, 0))) return line;
        if ((line = looks(id))) return line;
        CHECK(succeeded(command(LOADER, 6, id, 0)));
        words w = wait(LOADER, 5);
        CHECK(w.r[0] == 0 && w.r[1] > 1);
        CHECK(gives(command(INFO, 1, 0, 0), 1));
    }
    CHECK(succeeded(command(LOADER, 1, 100, 0)));
    CHECK(ends(0, 0, 0));
    CHECK(succeeded(command(LOADER, 5, 0, 0)));
    CHECK(ends(4, 0, 0));
    return 0;
}

int main(void) {
    words w = command(INFO, 1, 0, 0);
    if (failed(w, NODEVICE)) return 98;
    if (w.r[1] > 1) wait(INFO, 0);
    call(ALLOW_RW, INFO, 0, (u32)info, sizeof info);
    u32 line = installs();
    return line > 97 ? line - 97 : line;
}
