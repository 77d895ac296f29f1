// A 32-bit task that uses driver 0x30007 as libtock-c calls drivers: subscribe, allow, command, yield-wait-for. It sends back what comes,
// until a frame of kind 'q', by two buffers that it swaps, and returns the line of the first check that failed, or 0.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef struct { u32 r[4]; } words;

void tock(u32 class, u32 *words);

static words call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO };
enum { FAILURE = 0, SUCCESS = 128, SUCCESS_2U32 = 130, SUCCESS_U64 = 131, SUCCESS_3U32 = 132, BUSY = 2, SIZE = 7, NOSUPPORT = 10 };
enum { TAP = 0x30007, CONSOLE = 1, NO_WAIT = 0, WAIT_FOR = 2 };
enum { RX_FRAME, TX_FRAME };                                    // upcall
enum { TX_BUFFER = 0, RX_FRAMES = 0, TX_INFO = 1 };             // allow
enum { RX_STATISTICS = 1, TX_STATISTICS, TRANSMIT, ADDRESS = 0x100, LINK };
enum { ROOM = 8 + 3 * (12 + 1514) };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static int is(words w, u32 r0, u32 r1, u32 r2, u32 r3) {
    return w.r[0] == r0 && w.r[1] == r1 && w.r[2] == r2 && w.r[3] == r3;
}
static words command(u32 number, u32 a, u32 b) { return call(COMMAND, TAP, number, a, b); }
static words wait_for(u32 number) { return call(YIELD, WAIT_FOR, TAP, number, 0); }

static u8 streams[2][ROOM], out[1514], info[8];
static const char text[] = "tap32: is up\n";
static volatile u32 sent[3], userdata;

static void on_sent(u32 status, u32 flags_length, u32 identifier, u32 data) {
    sent[0] = status, sent[1] = flags_length, sent[2] = identifier, userdata = data;
}

static u16 half(const u8 *b) { return b[0] | b[1] << 8; }
static u32 word(const u8 *b) { return half(b) | (u32)half(b + 2) << 16; }

// send sends a frame with its addresses exchanged, and waits: by turns by yield-wait-for, and by an upcall.
static int send(const u8 *frame, u32 n, u32 count) {
    for (u32 i = 0; i < n; i++) out[i] = frame[i < 6 ? i + 6 : i < 12 ? i - 6 : i];
    for (u32 i = 0; i < 8; i++) info[i] = 0xff;
    u32 fn = count & 1 ? (u32)on_sent : 0;
    call(SUBSCRIBE, TAP, TX_FRAME, fn, count);
    CHECK(is(command(TRANSMIT, n, ~count), SUCCESS, 0, 0, 0));
    if (fn) {
        sent[2] = count;
        while (sent[2] == count) call(YIELD, 1, 0, 0, 0);
        CHECK(sent[0] == 0 && sent[1] == (1u << 16 | n) && sent[2] == ~count && userdata == count);
    } else {
        CHECK(is(wait_for(TX_FRAME), 0, 1u << 16 | n, ~count, 0));
    }
    CHECK(info[0] == 0); // the highest byte of a time in microseconds
    return 0;
}

int main(void) {
    CHECK(is(command(0, 0, 0), SUCCESS, 0, 0, 0));
    CHECK(is(command(4, 0, 0), FAILURE, NOSUPPORT, 0, 0));
    CHECK(is(command(ADDRESS, 0, 0), SUCCESS_U64, 0x00000002, 0x0700, 0));
    CHECK(is(command(LINK, 0, 0), SUCCESS_2U32, 1500, 1, 0));
    CHECK(is(command(TRANSMIT, 60, 0), FAILURE, SIZE, 0, 0));
    CHECK(is(call(ALLOW_RO, TAP, TX_BUFFER, (u32)out, sizeof out), SUCCESS_2U32, 0, 0, 0));
    CHECK(is(call(ALLOW_RW, TAP, TX_INFO, (u32)info, sizeof info), SUCCESS_2U32, 0, 0, 0));
    CHECK(is(call(SUBSCRIBE, TAP, RX_FRAME, 0, 0), SUCCESS_2U32, 0, 0, 0));
    CHECK(is(call(ALLOW_RW, TAP, RX_FRAMES, (u32)streams[0], ROOM), SUCCESS_2U32, 0, 0, 0));
    call(ALLOW_RO, CONSOLE, 1, (u32)text, sizeof text - 1);
    call(COMMAND, CONSOLE, 1, sizeof text - 1, 0);
    u32 count = 0, bytes = 0, received = 0, received_bytes = 0;
    for (u32 shared = 0;; shared ^= 1) {
        CHECK(is(wait_for(RX_FRAME), 0, 0, 0, 0));
        for (u32 i = 0; i < 8; i++) streams[shared ^ 1][i] = 0;
        CHECK(is(call(ALLOW_RW, TAP, RX_FRAMES, (u32)streams[shared ^ 1], ROOM), SUCCESS_2U32, (u32)streams[shared], ROOM, 0));
        const u8 *at = streams[shared] + 8, *end = at + word(streams[shared] + 4);
        CHECK(word(streams[shared]) == 0); // nothing was dropped
        while (at < end) {
            const u8 *frame = at + 12;
            u32 n = half(at + 2);
            CHECK(half(at) == 1 && word(at + 8) == 0); // there is a time, of less than 71 minutes
            at = frame + n;
            received++, received_bytes += n;
            if (n > 14 && frame[14] == 'q') {
                CHECK(is(command(RX_STATISTICS, 0, 0), SUCCESS_3U32, received, received_bytes, 0));
                CHECK(is(command(TX_STATISTICS, 0, 0), SUCCESS_2U32, count, bytes, 0));
                return 0;
            }
            int line = send(frame, n, count);
            if (line) return line;
            count++, bytes += n;
        }
    }
}
