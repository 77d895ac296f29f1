// A program for Tock's x86 port that knows nothing of Kapsel: it checks the system calls
// that it makes, and returns the line of the first check that failed, or 0.

typedef unsigned int u32;
typedef struct { u32 r[4]; } words;

void tock(u32 class, u32 *words);

static words call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO, MEMOP };
enum { FAILURE = 0, FAILURE_2U32 = 2, SUCCESS = 128, SUCCESS_U32 = 129, SUCCESS_2U32 = 130 };
enum { INVAL = 6, NOMEM = 9, NOSUPPORT = 10, NODEVICE = 11 };
enum { ALARM = 0, CONSOLE = 1 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static int is(words w, u32 r0, u32 r1, u32 r2, u32 r3) {
    return w.r[0] == r0 && w.r[1] == r1 && w.r[2] == r2 && w.r[3] == r3;
}

extern char _heap[];
static const char flash_text[] = "tock32: a text in flash\n";
static u32 initialised[3] = {1, 0xffffffff, 3};
static u32 zeroed[1000];
static volatile double third = 3.0;

static volatile u32 written, fired, expired, depth, deepest;

static void on_write(u32 length, u32 a, u32 b, void *userdata) {
    *(volatile u32 *)userdata = length;
    if (a != 0 || b != 0) *(volatile u32 *)userdata = 0;
}

// print writes by an upcall.
static int print(const char *text, u32 length) {
    written = 0;
    call(ALLOW_RO, CONSOLE, 1, (u32)text, length);
    call(SUBSCRIBE, CONSOLE, 1, (u32)on_write, (u32)&written);
    if (call(COMMAND, CONSOLE, 1, length, 0).r[0] != SUCCESS) return 0;
    while (!written) call(YIELD, 1, 0, 0, 0);
    call(ALLOW_RO, CONSOLE, 1, 0, 0);
    return written == length;
}

// on_alarm nests: it prints, which yields, until the third.
static void on_alarm(u32 now, u32 expiry, u32 unused, void *userdata) {
    (void)unused;
    depth++;
    if (depth > deepest) deepest = depth;
    fired++;
    if (now - expiry < 0x80000000u) expired++;
    if (fired < 3) {
        call(COMMAND, ALARM, 5, 100, 0);
        u32 before = fired;
        while (fired == before) call(YIELD, 1, 0, 0, 0);
    } else {
        print(userdata, 28); // the length of main's text
    }
    depth--;
}

// floats adds up 1/1 + 1/3 + 1/5 ..., with SSE and with the x87 at once.
static int floats(void) {
    double sse = 0;
    long double x87 = 0;
    for (int i = 0; i < 3000000; i++) {
        sse += 1.0 / (2 * i + 1) * (third / 3);
        x87 += 1.0L / (2 * i + 1);
    }
    double difference = sse - (double)x87;
    return difference < 1e-9 && difference > -1e-9 && sse > 8.0 && sse < 9.0;
}

int main(char *app, char *ram, u32 size, char *initial_break) {
    static char nested[] = "tock32: three upcalls deep.\n";
    CHECK(initialised[0] == 1 && initialised[1] == 0xffffffff && initialised[2] == 3);
    for (int i = 0; i < 1000; i++) CHECK(zeroed[i] == 0);
    CHECK(initial_break > ram && initial_break <= ram + size);

    CHECK(is(call(MEMOP, 2, 0, 0, 0), SUCCESS_U32, (u32)ram, 0, 0));
    CHECK(is(call(MEMOP, 3, 0, 0, 0), SUCCESS_U32, (u32)ram + size, 0, 0));
    CHECK(is(call(MEMOP, 1, 0, 0, 0), SUCCESS_U32, (u32)_heap, 0, 0));
    words flash = call(MEMOP, 4, 0, 0, 0), flash_end = call(MEMOP, 5, 0, 0, 0), grant = call(MEMOP, 6, 0, 0, 0);
    CHECK(flash.r[1] < (u32)app && flash_end.r[1] > (u32)flash_text);
    CHECK(grant.r[1] > (u32)_heap && grant.r[1] <= (u32)ram + size);
    CHECK(call(MEMOP, 10, (u32)_heap, 0, 0).r[0] == SUCCESS && call(MEMOP, 11, (u32)_heap, 0, 0).r[0] == SUCCESS);
    CHECK(is(call(MEMOP, 99, 0, 0, 0), FAILURE, NOSUPPORT, 0, 0));
    CHECK(is(call(MEMOP, 1, 6000, 0, 0), SUCCESS_U32, (u32)_heap, 0, 0));
    for (int i = 0; i < 6000; i++) CHECK(_heap[i] == 0);
    _heap[5999] = 1;
    CHECK(is(call(MEMOP, 1, -6000, 0, 0), SUCCESS_U32, (u32)_heap + 6000, 0, 0));
    CHECK(is(call(MEMOP, 0, grant.r[1] + 1, 0, 0), FAILURE, NOMEM, 0, 0));

    CHECK(is(call(COMMAND, CONSOLE, 0, 0, 0), SUCCESS, 0, 0, 0));
    CHECK(is(call(COMMAND, 0x7777, 0, 0, 0), FAILURE, NODEVICE, 0, 0));
    CHECK(is(call(COMMAND, CONSOLE, 999, 0, 0), FAILURE, NOSUPPORT, 0, 0));
    CHECK(is(call(SUBSCRIBE, CONSOLE, 99, (u32)on_write, 5), FAILURE_2U32, NOSUPPORT, (u32)on_write, 5));
    CHECK(is(call(ALLOW_RW, CONSOLE, 1, (u32)flash_text, 4), FAILURE_2U32, INVAL, (u32)flash_text, 4));
    CHECK(is(call(ALLOW_RO, CONSOLE, 1, (u32)flash_text, 4), SUCCESS_2U32, 0, 0, 0));
    CHECK(is(call(ALLOW_RO, CONSOLE, 1, 0, 0), SUCCESS_2U32, (u32)flash_text, 4, 0));

    volatile unsigned char ran = 7;
    call(YIELD, 0, (u32)&ran, 0, 0);
    CHECK(ran == 0);
    CHECK(print(flash_text, sizeof flash_text - 1));

    CHECK(call(SUBSCRIBE, ALARM, 0, (u32)on_alarm, (u32)nested).r[0] == SUCCESS_2U32);
    words set = call(COMMAND, ALARM, 5, 100, 0);
    CHECK(set.r[0] == SUCCESS_U32);
    while (fired < 3) call(YIELD, 1, 0, 0, 0);
    CHECK(fired == 3 && expired == 3 && deepest == 3 && depth == 0);

    set = call(COMMAND, ALARM, 5, 100, 0);
    words got = call(YIELD, 2, ALARM, 0, 0);
    CHECK(got.r[1] == set.r[1] && got.r[2] == 0 && fired == 3);

    CHECK(floats());
    static const char all[] = "tock32: all checks passed\n";
    CHECK(print(all, sizeof all - 1));
    return 0;
}
