// The behaviours of tests/conformance by Tock's x86 convention, one in each task: the number in the
// task's name says which, and a letter behind it may tell the part that the task has in it. The
// task ends with the line of the first check that failed as its completion code, or with 0.

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

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO, MEMOP, EXIT, ALLOW_READABLE };
enum { FAILURE = 0, FAILURE_2U32 = 2, SUCCESS = 128, SUCCESS_U32 = 129, SUCCESS_2U32 = 130 };
enum { FAIL = 1, ALREADY = 3, INVAL = 6, CANCEL = 8, NOMEM = 9, NOSUPPORT = 10, NODEVICE = 11 };
enum { ALARM = 0, CONSOLE = 1, DEBUG = 8, IPC = 0x10000, ABSENT = 0x7fff };
enum { BRK, SBRK, RAM_START, RAM_END, FLASH_START, FLASH_END, GRANT_START, REGIONS, REGION_START, REGION_END };
enum { NO_WAIT, WAIT, WAIT_FOR };
enum { PAGE = 4096, ALARM_FIRED = 0, WROTE = 1, HAS_READ = 2, SPARE = 0 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)
// EACH runs what follows for each value of a list.
#define EACH(type, v, ...) \
    for (type list_[] = {__VA_ARGS__}, *at_ = list_, v; at_ < list_ + sizeof list_ / sizeof *list_ && (v = *at_, 1); at_++)

static int is(words w, u32 r0, u32 r1, u32 r2, u32 r3) {
    return w.r[0] == r0 && w.r[1] == r1 && w.r[2] == r2 && w.r[3] == r3;
}
static int succeeded(words w) { return is(w, SUCCESS, 0, 0, 0); }
static int failed(words w, u32 error) { return is(w, FAILURE, error, 0, 0); }
static int was(words w, u32 a, u32 b) { return is(w, SUCCESS_2U32, a, b, 0); }
static int refused(words w, u32 error, u32 a, u32 b) { return is(w, FAILURE_2U32, error, a, b); }

static words command(u32 driver, u32 number, u32 a, u32 b) { return call(COMMAND, driver, number, a, b); }
static words subscribe(u32 driver, u32 number, u32 fn, u32 data) { return call(SUBSCRIBE, driver, number, fn, data); }
static words allow(u32 class, u32 number, u32 addr, u32 length) { return call(class, CONSOLE, number, addr, length); }
static words memop(u32 op, u32 arg) { return call(MEMOP, op, arg, 0, 0); }
static u32 value(u32 op, u32 arg) { return memop(op, arg).r[1]; }
static u32 app_break(void) { return value(SBRK, 0); }
static words wait_for(u32 driver, u32 number) { return call(YIELD, WAIT_FOR, driver, number, 0); }

static u8 buffer[128] = {1};
#define BUFFER ((u32)buffer)

// What upcalls were called with, and how many there were.
static volatile words calls[32];
static volatile u32 count;

static void recorder(u32 a, u32 b, u32 c, u32 data) {
    volatile words *w = &calls[count++ & 31];
    w->r[0] = a, w->r[1] = b, w->r[2] = c, w->r[3] = data;
}
static void other(u32 a, u32 b, u32 c, u32 data) { recorder(a, b, c, ~data); }
#define F ((u32)recorder)
#define G ((u32)other)

// The letter behind the behaviour's number in the task's name, or 0.
static u8 part;

// life counts the lives of a task, in its writeable flash, which outlives a restart.
static u32 *life(void) { return (u32 *)value(REGION_START, 0); }

static volatile u8 flag;

static int ran_upcall(void) {
    flag = 0xff;
    call(YIELD, NO_WAIT, (u32)&flag, 0, 0);
    return flag == 1;
}

static u32 run_all(void) {
    u32 n = 0;
    while (n < 32 && ran_upcall()) n++;
    return n;
}

// console_event makes an event of driver 1, number 1: the end of a write of nothing.
static int console_event(void) { return succeeded(command(CONSOLE, 1, 0, 0)); }

// alarm_event makes an event of driver 0, which has happened when it is back: an alarm that
// has fired cannot be disarmed, one that was disarmed does not fire.
static u32 alarm_event(void) {
    for (u32 patience = 1000;; patience *= 2) {
        u32 expiry = command(ALARM, 5, 0, 0).r[1];
        for (volatile u32 i = 0; i < patience; i++) {}
        if (failed(command(ALARM, 3, 0, 0), ALREADY)) return expiry;
    }
}

static int b01(void) {
    EACH(u32, d, ALARM, CONSOLE, DEBUG, IPC) CHECK(succeeded(command(d, 0, 0, 0)));
    CHECK(failed(command(ABSENT, 0, 0, 0), NODEVICE));
    CHECK(refused(subscribe(ABSENT, 0, F, 0x1234), NODEVICE, F, 0x1234));
    CHECK(refused(call(ALLOW_RW, ABSENT, 0, BUFFER, 9), NODEVICE, BUFFER, 9));
    CHECK(refused(call(ALLOW_RO, ABSENT, 0, BUFFER, 9), NODEVICE, BUFFER, 9));
    return 0;
}

static int b02(void) {
    EACH(u32, d, ALARM, CONSOLE, DEBUG, IPC) {
        CHECK(failed(command(d, 99, 0, 0), NOSUPPORT));
        CHECK(refused(subscribe(d, 99, F, 7), NOSUPPORT, F, 7));
        for (u32 class = ALLOW_RW; class <= ALLOW_RO; class++)
            CHECK(refused(call(class, d, 99, BUFFER, 9), NOSUPPORT, BUFFER, 9));
        CHECK(refused(call(ALLOW_READABLE, d, 99, BUFFER, 9), NOSUPPORT, BUFFER, 9));
    }
    return 0;
}

static int b03(void) {
    CHECK(was(subscribe(ALARM, ALARM_FIRED, F, 1), 0, 0));
    CHECK(was(subscribe(ALARM, ALARM_FIRED, G, 0x80000000), F, 1));
    CHECK(was(subscribe(ALARM, ALARM_FIRED, 0, 3), G, 0x80000000));
    CHECK(was(subscribe(ALARM, ALARM_FIRED, F, 4), 0, 3));
    return 0;
}

static int b04(void) {
    u32 header = value(FLASH_START, 0), end = value(FLASH_END, 0);
    subscribe(CONSOLE, WROTE, F, 77);
    CHECK(console_event());
    EACH(u32, bad, 1, 8, header, header + 64, end - 3, end, app_break() - 3, app_break(),
         value(RAM_END, 0) - 4, value(RAM_START, 0) - 1, 0x7fffffff, 0xfffffffc, 0xffffffff) {
        CHECK(refused(subscribe(CONSOLE, WROTE, bad, 5), INVAL, bad, 5));
        CHECK(refused(subscribe(ABSENT, 0, bad, 5), INVAL, bad, 5));
    }
    CHECK(run_all() == 1 && count == 1 && calls[0].r[3] == 77);
    CHECK(was(subscribe(CONSOLE, WROTE, app_break() - 4, 6), F, 77));
    CHECK(was(subscribe(CONSOLE, WROTE, end - 4, 7), app_break() - 4, 6));
    return 0;
}

static int b05(void) {
    subscribe(ALARM, ALARM_FIRED, F, 1);
    subscribe(CONSOLE, WROTE, F, 2);
    CHECK(console_event());
    alarm_event();
    CHECK(console_event());
    subscribe(CONSOLE, WROTE, F, 3);
    CHECK(run_all() == 1 && calls[0].r[3] == 1);
    CHECK(console_event());
    alarm_event();
    subscribe(ALARM, ALARM_FIRED, 0, 0);
    CHECK(run_all() == 1 && calls[1].r[3] == 3);
    return 0;
}

static int b06(void) {
    u32 expiry[3];
    subscribe(ALARM, ALARM_FIRED, F, 0xfedcba98);
    subscribe(CONSOLE, WROTE, G, 0);
    for (int i = 0; i < 3; i++) {
        expiry[i] = alarm_event();
        CHECK(console_event());
    }
    CHECK(run_all() == 6);
    for (int i = 0; i < 3; i++) {
        CHECK(is(calls[2 * i], calls[2 * i].r[0], expiry[i], 0, 0xfedcba98));
        CHECK(calls[2 * i].r[0] - expiry[i] < 0x80000000);
        CHECK(is(calls[2 * i + 1], 0, 0, 0, 0xffffffff));
    }
    return 0;
}

static int b07(void) {
    for (u32 class = ALLOW_RW; class <= ALLOW_RO; class++) {
        CHECK(was(allow(class, SPARE, BUFFER, 64), 0, 0));
        CHECK(was(allow(class, SPARE, BUFFER + 8, 16), BUFFER, 64));
        CHECK(refused(allow(class, SPARE, 8, 24), INVAL, 8, 24));
        CHECK(was(allow(class, SPARE, 0, 0), BUFFER + 8, 16));
        CHECK(was(allow(class, SPARE, BUFFER, 1), 0, 0));
    }
    return 0;
}

static int b08(void) {
    u32 start = value(FLASH_START, 0), end = value(FLASH_END, 0);
    EACH(u32, at, F, value(REGION_START, 0), end - 8) {
        CHECK(refused(allow(ALLOW_RW, SPARE, at, 8), INVAL, at, 8));
        CHECK(allow(ALLOW_RO, SPARE, at, 8).r[0] == SUCCESS_2U32);
    }
    EACH(u32, header, start, start + 8, start + 0x7f)
        CHECK(refused(allow(ALLOW_RO, SPARE, header, 8), INVAL, header, 8));
    CHECK(was(allow(ALLOW_RO, SPARE, start + 0x80, end - start - 0x80), end - 8, 8));
    CHECK(refused(allow(ALLOW_RO, SPARE, end - 8, 9), INVAL, end - 8, 9));
    return 0;
}

static int b09(void) {
    for (u32 class = ALLOW_RW; class <= ALLOW_RO; class++) {
        u32 before = 0;
        EACH(u32, at, 1, 0xffff, value(FLASH_START, 0), value(GRANT_START, 0), 0x80000000, 0xffffffff) {
            CHECK(was(allow(class, SPARE, at, 0), before, 0));
            before = at;
        }
    }
    return 0;
}

static int b10(void) {
    command(ALARM, 3, 0, 0); // makes a grant
    u32 start = value(RAM_START, 0), end = value(RAM_END, 0), grant = value(GRANT_START, 0), top = app_break();
    struct range { u32 addr, length; };
    for (u32 class = ALLOW_RW; class <= ALLOW_RO; class++) {
        EACH(struct range, bad, {BUFFER, 0xffffffff}, {BUFFER, -BUFFER}, {BUFFER, -BUFFER + 1}, {BUFFER, 0x80000000},
             {0xffffffff, 1}, {0xffffffff, 2}, {0xfffffff8, 16}, {top - 4, 5}, {top, 1}, {start, top - start + 1},
             {start - 1, 1}, {start - 1, 2}, {grant, 8}, {grant - 8, 16}, {end - 1, 1}, {end, 1}, {start, end - start},
             {0, 1}, {0x80000000, 8})
            CHECK(refused(allow(class, SPARE, bad.addr, bad.length), INVAL, bad.addr, bad.length));
        CHECK(was(allow(class, SPARE, start, top - start), 0, 0));
        CHECK(was(allow(class, SPARE, top - 1, 1), start, top - start));
    }
    return 0;
}

static int b11(void) {
    for (u32 class = ALLOW_RW; class <= ALLOW_RO; class++) {
        CHECK(was(allow(class, 0, BUFFER, 64), 0, 0));
        CHECK(was(allow(class, 1, BUFFER, 64), 0, 0));
        CHECK(was(allow(class, 1, BUFFER + 8, 64), BUFFER, 64));
    }
    return 0;
}

static int b12(void) {
    CHECK(was(allow(ALLOW_RW, SPARE, BUFFER, 1), 0, 0));
    CHECK(was(allow(ALLOW_RO, SPARE, BUFFER + 32, 2), 0, 0));
    CHECK(was(allow(ALLOW_RW, SPARE, 0, 0), BUFFER, 1));
    CHECK(was(allow(ALLOW_RO, SPARE, 0, 0), BUFFER + 32, 2));
    return 0;
}

static int b13(void) {
    for (u32 class = ALLOW_RW; class <= ALLOW_RO; class++) {
        u32 old = app_break(), end = old + PAGE + 100;
        memop(BRK, old + 2 * PAGE);
        CHECK(succeeded(memop(BRK, old)));
        memop(BRK, old + 2 * PAGE);
        allow(class, SPARE, end - 10, 10);
        CHECK(failed(memop(BRK, end - 1), NOMEM));
        CHECK(succeeded(memop(BRK, end)));
        allow(class, SPARE, 0, 0);
        CHECK(failed(memop(BRK, end - 1), NOMEM) && failed(memop(SBRK, -1), NOMEM) && app_break() == end);
    }
    return 0;
}

static int b14(void) {
    u32 old = app_break();
    volatile u8 *fresh = (volatile u8 *)old;
    CHECK(is(memop(SBRK, 2 * PAGE), SUCCESS_U32, old, 0, 0));
    for (int i = 0; i < 2 * PAGE; i++) CHECK(fresh[i] == 0);
    for (int i = 0; i < 2 * PAGE; i++) fresh[i] = 0xa5;
    CHECK(is(memop(SBRK, -2 * PAGE + 1000), SUCCESS_U32, old + 2 * PAGE, 0, 0));
    CHECK(succeeded(memop(BRK, old + 2 * PAGE)));
    for (int i = 0; i < 2 * PAGE; i++) CHECK(fresh[i] == (i < 1000 ? 0xa5 : 0));
    u32 grant = value(GRANT_START, 0);
    EACH(u32, bad, 0, value(RAM_START, 0) - 1, grant, grant + 1, value(RAM_END, 0), 0x80000000, 0xffffffff) {
        CHECK(failed(memop(BRK, bad), NOMEM) && app_break() == old + 2 * PAGE);
        CHECK(failed(memop(SBRK, bad - app_break()), NOMEM) && app_break() == old + 2 * PAGE);
    }
    return 0;
}

static int b15(void) {
    u32 start = value(RAM_START, 0), end = value(RAM_END, 0), grant = value(GRANT_START, 0), top = app_break();
    CHECK(start < top && top <= grant && grant <= end && start <= BUFFER && BUFFER < top);
    u32 flash = value(FLASH_START, 0), flash_end = value(FLASH_END, 0);
    CHECK(*(u16 *)flash == 2 && ((u32 *)flash)[1] == flash_end - flash && flash < F && F < flash_end);
    CHECK(is(memop(REGIONS, 0), SUCCESS_U32, 1, 0, 0));
    CHECK(value(REGION_END, 0) - value(REGION_START, 0) == PAGE);
    EACH(u32, index, 1, 2, 0xffffffff)
        CHECK(failed(memop(REGION_START, index), FAIL) && failed(memop(REGION_END, index), FAIL));
    CHECK(succeeded(memop(10, top)) && succeeded(memop(11, 0xffffffff)));
    EACH(u32, op, 12, 13, 14, 99, 0xffffffff) CHECK(failed(memop(op, 0), NOSUPPORT));
    return 0;
}

static int b16(void) {
    flag = 0xff;
    call(YIELD, NO_WAIT, (u32)&flag, 0, 0);
    CHECK(flag == 0);
    CHECK(console_event() && !ran_upcall()); // nobody is subscribed
    subscribe(CONSOLE, WROTE, F, 1);
    CHECK(console_event() && console_event());
    CHECK(ran_upcall() && count == 1 && ran_upcall() && count == 2 && !ran_upcall() && count == 2);
    u32 code = *(u32 *)F, n = 2;
    EACH(u32, bad, 0, 1, F, value(FLASH_START, 0), value(RAM_END, 0) - 1, app_break(), 0xffffffff) {
        call(YIELD, NO_WAIT, bad, 0, 0);
        CHECK(console_event());
        call(YIELD, NO_WAIT, bad, 0, 0);
        CHECK(count == ++n);
    }
    CHECK(*(u32 *)F == code);
    CHECK(console_event());
    EACH(u32, kind, 3, 99, 0xffffffff) CHECK(is(call(YIELD, kind, (u32)&flag, 0, 0), 0, 0, 0, 0) && count == n);
    return 0;
}

static int b17(void) {
    subscribe(ALARM, ALARM_FIRED, F, 5);
    for (u32 i = 1; i <= 3; i++) {
        flag = 0xff;
        CHECK(console_event()); // nobody is subscribed
        command(ALARM, 5, 20000, 0);
        call(YIELD, WAIT, (u32)&flag, 0, 0);
        CHECK(count == i && flag == 0xff);
    }
    return 0;
}

static int b18(void) {
    EACH(u32, fn, 0, F) {
        subscribe(ALARM, ALARM_FIRED, fn, 5);
        subscribe(CONSOLE, WROTE, fn, 5);
        u32 expiry = command(ALARM, 5, 20000, 0).r[1];
        words later = wait_for(ALARM, ALARM_FIRED);
        CHECK(later.r[1] == expiry && later.r[0] - expiry < 0x80000000 && later.r[2] == 0 && later.r[3] == 0);
        expiry = alarm_event();
        CHECK(wait_for(ALARM, ALARM_FIRED).r[1] == expiry);
        CHECK(console_event() && is(wait_for(CONSOLE, WROTE), 0, 0, 0, 0));
        CHECK(run_all() == 0 && count == 0);
    }
    return 0;
}

static int b19(void) {
    subscribe(CONSOLE, WROTE, F, 1);
    subscribe(CONSOLE, HAS_READ, F, 2);
    allow(ALLOW_RW, 1, BUFFER, 16);
    EACH(u32, fn, 0, F) {
        count = 0;
        subscribe(ALARM, ALARM_FIRED, fn, 3);
        CHECK(console_event());
        CHECK(succeeded(command(CONSOLE, 2, 16, 0)) && succeeded(command(CONSOLE, 3, 0, 0)));
        u32 expiry = alarm_event();
        CHECK(console_event());
        CHECK(wait_for(ALARM, ALARM_FIRED).r[1] == expiry);
        expiry = command(ALARM, 5, 20000, 0).r[1];
        CHECK(wait_for(ALARM, ALARM_FIRED).r[1] == expiry && count == 0);
        CHECK(run_all() == 3 && calls[0].r[3] == 1 && calls[1].r[3] == 2 && calls[2].r[3] == 1);
        CHECK(calls[1].r[0] == CANCEL);
    }
    return 0;
}

static int b20(void) {
    subscribe(CONSOLE, WROTE, F, 1);
    for (int i = 0; i < 13; i++) CHECK(console_event());
    CHECK(run_all() == 11);
    for (int i = 0; i < 10; i++) CHECK(console_event());
    EACH(u32, fn, 0, F) {
        subscribe(ALARM, ALARM_FIRED, fn, 2);
        // far enough away that the task waits by then, whoever has the CPU meanwhile
        u32 expiry = command(ALARM, 5, 500000, 0).r[1];
        CHECK(wait_for(ALARM, ALARM_FIRED).r[1] == expiry);
    }
    CHECK(run_all() == 10);
    return 0;
}

// yield_drift makes a Yield-Wait and returns by how much ESP differs behind it.
static u32 yield_drift(void) {
    u32 drift;
    asm volatile("mov %%esp, %%edi; push $0; push $0; push $0; push $1; xor %%eax, %%eax; int $0x40;"
                 "add $16, %%esp; sub %%esp, %%edi" : "=D"(drift) : : "eax", "ecx", "edx", "memory", "cc");
    return drift;
}

enum { DEPTH = 8 };
static volatile u32 began, ended, drifts, order[DEPTH];

static void nest(void) {
    u32 me = ++began;
    if (me < DEPTH) drifts |= yield_drift();
    order[ended++] = me;
}

static int b21(void) {
    subscribe(CONSOLE, WROTE, (u32)nest, 1);
    for (int i = 0; i < DEPTH; i++) CHECK(console_event());
    CHECK(yield_drift() == 0 && drifts == 0);
    CHECK(began == DEPTH && ended == DEPTH);
    for (u32 i = 0; i < DEPTH; i++) CHECK(order[i] == DEPTH - i);
    CHECK(!ran_upcall());
    return 0;
}

static void poke(u32 addr) { *(volatile u8 *)addr = 0x5a; }

// Each life makes one attempt; part s makes the first in each of its lives.
static int b22(void) {
    switch (part == 's' ? 0 : (*life())++) {
    case 0: call(8, 0, 0, 0, 0); break;
    case 1: ((void (*)(void))0)(); break;
    case 2: poke(0x12345678); break;
    case 3: poke(F); break;
    case 4: poke(value(FLASH_START, 0)); break;
    case 5: command(ALARM, 3, 0, 0); poke(value(GRANT_START, 0)); break;
    case 6: poke(0xfffffff0); break;
    case 7: // an upcall below RAM, by a Yield whose words are the first of RAM
        subscribe(CONSOLE, WROTE, F, 1);
        *(volatile u32 *)value(RAM_START, 0) = 0; // NoWait
        console_event();
        asm volatile("mov %0, %%esp; xor %%eax, %%eax; int $0x40" : : "r"(value(RAM_START, 0)));
        break;
    default: return 0;
    }
    return __LINE__;
}

static u32 initialised = 0x11223344;
static u32 zeroed[64];

static int b23(void) {
    EACH(u32, kind, 2, 99, 0xffffffff) CHECK(failed(call(EXIT, kind, 1, 0, 0), NOSUPPORT));
    CHECK(initialised == 0x11223344);
    for (int i = 0; i < 64; i++) CHECK(zeroed[i] == 0);
    u32 fresh = app_break();
    u8 *heap = (u8 *)fresh;
    memop(SBRK, PAGE);
    for (int i = 0; i < PAGE; i++) CHECK(heap[i] == 0);
    CHECK(was(subscribe(ALARM, ALARM_FIRED, F, 1), 0, 0));
    u32 *lives = life();
    if (lives[0]++ == 0) {
        lives[1] = fresh;
        initialised = 0;
        for (int i = 0; i < 64; i++) zeroed[i] = ~0;
        for (int i = 0; i < PAGE; i++) heap[i] = 0xff;
        allow(ALLOW_RO, SPARE, fresh, PAGE);
        call(EXIT, 1, 9, 0, 0);
    }
    CHECK(lives[0] == 2 && lives[1] == fresh);
    return 0;
}

static void spin(void) {
    for (;;) asm volatile("");
}

static int b24(void) {
    spin();
    return __LINE__;
}

// The test stops part r while it runs, part y while it waits for an upcall, part f for an event.
static int b25(void) {
    switch (part) {
    case 'r': spin(); break;
    case 'y': call(YIELD, WAIT, 0, 0, 0); break;
    case 'f': wait_for(ABSENT, 0); break;
    }
    return __LINE__;
}

static int b26(void) {
    if ((*life())++ == 0) {
        u32 old = app_break(), end = value(RAM_END, 0);
        CHECK(value(GRANT_START, 0) == end && succeeded(memop(BRK, end - 1)));
        CHECK(refused(subscribe(ALARM, ALARM_FIRED, F, 7), NOMEM, F, 7));
        CHECK(refused(allow(ALLOW_RO, SPARE, BUFFER, 9), NOMEM, BUFFER, 9));
        CHECK(refused(allow(ALLOW_RW, SPARE, BUFFER, 9), NOMEM, BUFFER, 9));
        CHECK(failed(command(ALARM, 5, 1, 0), NOMEM) && failed(command(CONSOLE, 1, 1, 0), NOMEM));
        CHECK(succeeded(memop(BRK, old)) && was(subscribe(ALARM, ALARM_FIRED, F, 7), 0, 0));
        command(ALARM, 5, 1000, 0);
        call(EXIT, 1, 0, 0, 0);
    }
    CHECK(was(subscribe(ALARM, ALARM_FIRED, F, 2), 0, 0));
    CHECK(failed(command(ALARM, 3, 0, 0), ALREADY));
    u32 expiry = command(ALARM, 5, 50000, 0).r[1];
    call(YIELD, WAIT, 0, 0, 0);
    CHECK(count == 1 && calls[0].r[1] == expiry && calls[0].r[3] == 2);
    return 0;
}

// The test gave part p a list of commands: 0 to 3 of the alarm, 1 of the console. Of the other
// part it looks whether it is loaded at all.
static int b27(void) {
    if (part != 'p') return 0;
    CHECK(succeeded(command(ALARM, 0, 0, 0)));
    CHECK(failed(command(ALARM, 5, 1, 0), NODEVICE));
    CHECK(failed(command(CONSOLE, 0, 0, 0), NODEVICE) && failed(command(CONSOLE, 64 + 1, 0, 0), NODEVICE));
    CHECK(console_event());
    CHECK(failed(command(DEBUG, 0, 0, 0), NODEVICE));
    CHECK(was(subscribe(ALARM, ALARM_FIRED, F, 1), 0, 0));
    CHECK(refused(subscribe(DEBUG, 0, F, 1), NODEVICE, F, 1));
    return 0;
}

// Parts c and d write lines longer than the console's own buffer.
static int long_lines(void) {
    static u8 line[701];
    for (u32 i = 0; i < sizeof line; i++) line[i] = i < sizeof line - 1 ? part : '\n';
    allow(ALLOW_RO, 1, (u32)line, sizeof line);
    for (int i = 0; i < 8; i++) {
        CHECK(succeeded(command(CONSOLE, 1, sizeof line, 0)));
        CHECK(is(wait_for(CONSOLE, WROTE), sizeof line, 0, 0, 0));
    }
    return 0;
}

static int b28(void) {
    if (part) return long_lines();
    struct { u32 before, interval; } alarms[] = {
        {5000, 10}, {0x80000000, 0}, {100, 20000}, {0x80000000, 0x80000000 + 20000},
        {-1000000, -1000000 + 20000}, {-1000000, 10},
    };
    for (u32 i = 0; i < sizeof alarms / sizeof *alarms; i++) {
        u32 reference = command(ALARM, 2, 0, 0).r[1] - alarms[i].before, expiry = reference + alarms[i].interval;
        CHECK(is(command(ALARM, 6, reference, alarms[i].interval), SUCCESS_U32, expiry, 0, 0));
        CHECK(wait_for(ALARM, ALARM_FIRED).r[1] == expiry);
    }
    return 0;
}

// What registers.S fills the registers from, and where it puts what they are later. fx is what
// FXSAVE writes; of that, FX bytes are for programs of 32 bits.
enum { FX = 288, FCW = 0, FSW = 2, FTW = 4, MXCSR = 24, ST = 32, XMM = 160 };
struct registers {
    u32 eax, ecx, edx, ebx, esi, edi, ebp, esp, eflags, ds, es, fs, gs;
    u8 fx[512] __attribute__((aligned(16)));
};
_Static_assert(__builtin_offsetof(struct registers, fx) == 64, "registers.S has it there");
struct registers before, after;
void keep(u32 *words, u32 spins);

// Arithmetic flags, DF, NT, AC and ID; IF and bit 1 are always set.
enum { FLAGS = 0x244cd5, ALWAYS = 0x202 };

// choose puts a pattern into each register: segments are data and code segments of ring 3 with
// various RPL, the x87 and vector registers raise no exception.
static void choose(int second) {
    u32 v = second ? 0x0f1e2d3c : 0xf3579bde;
    for (u32 i = 0; i < 8; i++) (&before.eax)[i] = v += 0x9e3779b9;
    before.eflags = (second ? FLAGS & 0x200451 : FLAGS & ~0x200451) | ALWAYS;
    before.ds = second ? 0x20 : 0x21, before.es = second ? 0x22 : 0x1b;
    before.fs = second ? 0x2b : 0x23, before.gs = second ? 0x23 : 0x1a;
    asm volatile("fxsave %0" : "=m"(before.fx)); // the mask of MXCSR is the processor's
    for (u32 i = FCW; i < MXCSR; i++) before.fx[i] = 0;
    *(u16 *)(before.fx + FCW) = second ? 0x0f7f : 0x077f;
    *(u16 *)(before.fx + FSW) = second ? 0x2200 : 0x5d00; // TOP and the condition codes
    before.fx[FTW] = second ? 0xa5 : 0xff;                // which of the stack's registers are in use
    *(u32 *)(before.fx + MXCSR) = second ? 0x7fbf : 0x3f80;
    for (u32 i = ST; i < FX; i++) before.fx[i] = i < XMM && i % 16 >= 10 ? 0 : i * 37 + v;
}

// kept makes a system call with the chosen registers and is 0 if all are as they were.
static int kept(u32 class, u32 *w, u32 spins) {
    u8 *bytes = (u8 *)&after;
    for (u32 i = 0; i < sizeof after; i++) bytes[i] = 0;
    before.eax = (before.eax & ~0xff) | class; // the class is in the low 8 bits
    keep(w, spins);
    for (int i = 0; i < 8; i++) CHECK((&after.eax)[i] == (&before.eax)[i]);
    CHECK(after.eflags == before.eflags);
    for (int i = 0; i < 4; i++) CHECK((&after.ds)[i] == (&before.ds)[i]);
    for (int i = 0; i < FX; i++) CHECK(after.fx[i] == before.fx[i]);
    return 0;
}

// Parts a and b have different registers and take the CPU from each other, for 0.2 s: far more than
// their time slices.
static int preempted(void) {
    u32 start = command(ALARM, 2, 0, 0).r[1];
    choose(part == 'b');
    for (;;) {
        words now = {{ALARM, 2, 0, 0}};
        int line = kept(COMMAND, now.r, 1 << 20);
        if (line) return line;
        CHECK(is(now, SUCCESS_U32, now.r[1], 0, 0));
        if (now.r[1] - start > 200000) return 0;
    }
}

static int b29(void) {
    if (part) return preempted();
    struct { u32 class; words w; u32 answer; } each[] = {
        {COMMAND, {{CONSOLE, 0, 0, 0}}, SUCCESS},
        {COMMAND, {{ABSENT, 0, 0, 0}}, FAILURE},
        {SUBSCRIBE, {{CONSOLE, WROTE, F, 0}}, SUCCESS_2U32},
        {ALLOW_RW, {{CONSOLE, SPARE, BUFFER, 8}}, SUCCESS_2U32},
        {ALLOW_RO, {{CONSOLE, SPARE, 8, 8}}, FAILURE_2U32},
        {ALLOW_READABLE, {{CONSOLE, SPARE, BUFFER, 8}}, FAILURE_2U32},
        {MEMOP, {{RAM_START, 0, 0, 0}}, SUCCESS_U32},
        {EXIT, {{2, 0, 0, 0}}, FAILURE},
        {YIELD, {{NO_WAIT, 0, 0, 0}}, 0},
        {YIELD, {{9, 0, 0, 0}}, 0},
    };
    int line;
    for (int second = 0; second < 2; second++) {
        choose(second);
        for (u32 i = 0; i < sizeof each / sizeof *each; i++) {
            words w = each[i].w;
            if ((line = kept(each[i].class, w.r, 0))) return line;
            CHECK(w.r[0] == each[i].answer);
        }
        words w = {{WAIT_FOR, ALARM, ALARM_FIRED, 0}}; // sleeps
        u32 expiry = command(ALARM, 5, 20000, 0).r[1];
        if ((line = kept(YIELD, w.r, 0))) return line;
        CHECK(w.r[1] == expiry);
    }
    return 0;
}

// 30: parts c and d, clients, find parts s and t, services, and lend each a page, which the service
// can touch from the notification on, as long as the client lives and leaves it there. Once the
// service is told that nothing is lent, the page is not there. The peer of t or d is a 64-bit task.
enum { DISCOVER = 1, NOTIFY_SERVICE, NOTIFY_CLIENT };
enum { LOANS = 0x7f800000, LOAN_SIZE = 0x20000 };

// Names of the pair that the task is of, set by pair.
static char service_name[16], client_name[16];

static void set_name(char *name, const char *size, u8 letter, u32 number) {
    for (const char *c = "behaviour"; *c; c++) *name++ = *c;
    for (; *size; size++) *name++ = *size;
    *name++ = '0' + number / 10, *name++ = '0' + number % 10, *name++ = letter, *name = 0;
}

static int pair(u32 number, int (*serve)(const char *, const char *), int (*be_client)(const char *, const char *)) {
    int mixed = part == 't' || part == 'd', serves = part == 's' || part == 't';
    set_name(service_name, mixed && !serves ? "" : "32-", mixed ? 't' : 's', number);
    set_name(client_name, mixed && serves ? "" : "32-", mixed ? 'd' : 'c', number);
    return (serves ? serve : be_client)(service_name, client_name);
}

static words discover(const char *name) {
    u32 length = 0;
    while (name[length]) length++;
    call(ALLOW_RO, IPC, 0, (u32)name, length);
    return command(IPC, DISCOVER, 0, 0);
}

static words lend(u32 peer, u32 addr, u32 length) { return call(ALLOW_RW, IPC, peer, addr, length); }
static int notify(u32 service) { return succeeded(command(IPC, NOTIFY_SERVICE, service, 0)); }
static int hail(u32 client) { return succeeded(command(IPC, NOTIFY_CLIENT, client, 0)); }
static int reads(volatile u8 *at, const char *text) {
    for (; *text; at++, text++) if (*at != (u8)*text) return 0;
    return 1;
}

static void sleep_ms(u32 ms) {
    command(ALARM, 5, ms * 1000, 0);
    wait_for(ALARM, ALARM_FIRED);
}

static void until_gone(const char *name) {
    while (discover(name).r[0] == SUCCESS_U32) sleep_ms(1);
}

// is_blank looks at memory that was taken back: it reads as zero, and can be written.
static int is_blank(volatile u8 *at, u32 length) {
    for (u32 i = 0; i < length; i += PAGE / 4) if (at[i]) return 0;
    at[0] = 1;
    if (at[0] != 1) return 0;
    at[0] = 0;
    return 1;
}

// own_pages moves the break for so many pages.
static u32 own_pages(u32 n) {
    u32 page = (app_break() + PAGE - 1) & -PAGE;
    memop(BRK, page + n * PAGE);
    return page;
}

static int be_client(const char *service, const char *client) {
    words found = discover(service), self = discover(client);
    u32 peer = found.r[1], own = self.r[1];
    CHECK(is(found, SUCCESS_U32, peer, 0, 0) && is(self, SUCCESS_U32, own, 0, 0) && own != peer);
    CHECK(failed(discover("behaviour"), NODEVICE) && failed(discover(""), INVAL));
    EACH(u32, nobody, own, 63, 64, 0xffffffff) CHECK(failed(command(IPC, NOTIFY_SERVICE, nobody, 0), INVAL));
    u32 page = own_pages(1);
    CHECK(was(lend(peer, page, 100), 0, 0) && failed(command(IPC, NOTIFY_SERVICE, peer, 0), INVAL));
    lend(peer, 0, 0);

    CHECK(notify(peer)); // nothing
    lend(peer, page, PAGE);
    CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0)); // the service's second life

    volatile u8 *bytes = (volatile u8 *)page;
    for (int i = 0; i < 4; i++) bytes[i] = "lent"[i];
    CHECK(notify(peer));
    CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0) && reads(bytes, "LENT"));
    CHECK(was(lend(peer, 0, 0), page, PAGE) && notify(peer)); // nothing
    CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0)); // the service's third life

    lend(peer, page, PAGE);
    CHECK(notify(peer));
    return 0; // and ends
}

// serve has a life for each way in which the page is not there, which ends by a fault.
static int serve(const char *service, const char *client) {
    u32 own = discover(service).r[1], peer = discover(client).r[1], window = LOANS + peer * LOAN_SIZE;
    volatile u8 *lent = (volatile u8 *)window;
    switch (++*life()) {
    case 1:
        CHECK(is(wait_for(IPC, own), peer, 0, 0, 0));
        break;
    case 2:
        CHECK(hail(peer));
        CHECK(is(wait_for(IPC, own), peer, PAGE, window, 0) && reads(lent, "lent"));
        for (int i = 0; i < 4; i++) lent[i] -= 'a' - 'A';
        CHECK(hail(peer));
        CHECK(is(wait_for(IPC, own), peer, 0, 0, 0));
        break;
    case 3:
        CHECK(hail(peer));
        CHECK(is(wait_for(IPC, own), peer, PAGE, window, 0));
        until_gone(client);
        CHECK(is_blank(lent, PAGE));
        return 0;
    }
    poke(window);
    return __LINE__;
}

static int b30(void) { return pair(30, serve, be_client); }

enum { ROUNDS = 40 };

static int serve_taken_back(const char *service, const char *client) {
    u32 own = discover(service).r[1], peer = discover(client).r[1], window = LOANS + peer * LOAN_SIZE;
    volatile u8 *lent = (volatile u8 *)window;
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(is(wait_for(IPC, own), peer, 2 * PAGE, window, 0) && hail(peer));
        while (lent[0] || lent[PAGE]) {
            for (u32 i = 0; i < 500; i++) (void)lent[i % (2 * PAGE)];
            sleep_ms(1);
        }
        CHECK(is_blank(lent, 2 * PAGE) && hail(peer));
        CHECK(is(wait_for(IPC, own), peer, 0, 0, 0) && hail(peer));
    }
    return 0;
}

static int take_back(const char *service, const char *client) {
    (void)client;
    u32 peer = discover(service).r[1], page = own_pages(2);
    volatile u8 *lent = (volatile u8 *)page;
    for (int round = 0; round < ROUNDS; round++) {
        lent[0] = lent[PAGE] = 1;
        lend(peer, page, 2 * PAGE);
        CHECK(notify(peer));
        CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0)); // the service is at work
        sleep_ms(1);
        lend(peer, 0, 0);
        CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0) && lent[0] == 1 && notify(peer));
        CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0));
    }
    return 0;
}

// 31: clients take back what they lent while the service is at work.
static int b31(void) { return pair(31, serve_taken_back, take_back); }

static int serve_flooded(const char *service, const char *client) {
    (void)client;
    u32 own = discover(service).r[1];
    wait_for(IPC, own); // until the client has begun
    subscribe(IPC, own, F, 1);
    subscribe(ALARM, ALARM_FIRED, F, 2);
    for (int i = 0; i < 30; i++) {
        u32 expiry = command(ALARM, 5, 10000, 0).r[1], told = 0;
        for (u32 waited = 0; !told && waited < 10000; waited++) {
            count = 0;
            call(YIELD, WAIT, 0, 0, 0);
            told = calls[0].r[3] == 2 && calls[0].r[1] == expiry;
        }
        CHECK(told);
    }
    return 0;
}

static int flood(const char *service, const char *client) {
    (void)client;
    u32 peer = discover(service).r[1], answered = 1;
    while (answered) {
        for (int i = 0; i < 200 && answered; i++) answered = notify(peer);
        sleep_ms(1);
    }
    CHECK(failed(command(IPC, NOTIFY_SERVICE, peer, 0), NODEVICE));
    return 0;
}

// 32: clients notify services without end. The services miss none of their alarms.
static int b32(void) { return pair(32, serve_flooded, flood); }

static int serve_late(const char *service, const char *client) {
    u32 own = discover(service).r[1], peer = discover(client).r[1], window = LOANS + peer * LOAN_SIZE;
    CHECK(is(wait_for(IPC, peer), peer, PAGE, window, 0)); // another event
    CHECK(!ran_upcall());
    subscribe(IPC, own, F, 7);
    call(YIELD, WAIT, 0, 0, 0);
    CHECK(count == 1 && is(calls[0], peer, PAGE, window, 7) && *(volatile u8 *)window == 1);
    subscribe(IPC, own, 0, 0);
    CHECK(hail(peer));
    CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0)); // another event
    CHECK(is(wait_for(IPC, own), peer, 0, 0, 0) && hail(peer));
    return 0;
}

static int be_early(const char *service, const char *client) {
    (void)client;
    u32 peer = discover(service).r[1], page = own_pages(1);
    *(volatile u8 *)page = 1;
    for (int round = 0; round < 2; round++) {
        lend(peer, page, PAGE);
        CHECK(notify(peer));
        if (round == 1) lend(peer, 0, 0);
        CHECK(hail(peer)); // another event, by which it knows of this one
        CHECK(is(wait_for(IPC, peer), peer, 0, 0, 0));
    }
    until_gone(service);
    CHECK(failed(command(IPC, NOTIFY_SERVICE, peer, 0), NODEVICE));
    return 0;
}

// 33: clients notify services that have not subscribed.
static int b33(void) { return pair(33, serve_late, be_early); }

// 34: no task finds another by a name that several have: the parts x have one name.
static int b34(void) {
    set_name(service_name, "32-", 'x', 34);
    for (int i = 0; i < 3 && part != 'x'; i++) {
        CHECK(failed(discover(service_name), FAIL));
        sleep_ms(20);
    }
    return 0;
}

static int (*const behaviours[])(void) = {
    [1] = b01, b02, b03, b04, b05, b06, b07, b08, b09, b10, b11, b12, b13, b14, b15, b16, b17, b18, b19, b20, b21,
    b22, b23, b24, b25, b26, b27, b28, b29, b30, b31, b32, b33, b34,
};

// number reads the behaviour's number, and its part, in the package name, element 3 of the header:
// they stand behind "behaviour32-".
static u32 number(void) {
    const u8 *header = (const u8 *)value(FLASH_START, 0);
    for (u32 at = 16; at < *(const u16 *)(header + 2);) {
        u32 type = *(const u16 *)(header + at), length = *(const u16 *)(header + at + 2);
        const u8 *digits = header + at + 4 + 12;
        if (type == 3) {
            part = length > 14 ? digits[2] : 0;
            return (digits[0] - '0') * 10 + digits[1] - '0';
        }
        at += 4 + ((length + 3) & ~3u);
    }
    return 0;
}

int main(void) {
    u32 n = number();
    CHECK(n < sizeof behaviours / sizeof *behaviours && behaviours[n]);
    return behaviours[n]();
}
