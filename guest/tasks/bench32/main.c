// bench32 measures system calls by Tock's x86 convention, as guest/tasks/bench64 does for 64-bit
// tasks, and prints the samples in the same form. It begins when a task notifies it by IPC, and
// notifies that when it has ended. Numbers are those of guest/abi.

typedef unsigned int u32;

struct call {
    u32 class, words[4], yield[3], ticks, result;
};

void tock(u32 class, u32 *words);
void empty(struct call *c);
void once(struct call *c);
void twice(struct call *c);

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO, MEMOP };
enum { NO_WAIT, WAIT, WAIT_FOR };
enum { SUCCESS = 128 };
enum { CONSOLE = 1, IPC = 0x10000, BENCHMARK = 0xf0000 };
enum { WRITE = 1 };                         // console: command, allow and subscribe number
enum { DISCOVER = 1, NOTIFY_CLIENT = 3 };   // commands of IPC
enum { EVENT = 2, MARK = 3 };               // commands of the benchmark capsule
enum { MARK_BEGIN = 1, MARK_END = 2 };
enum { ALARM = 0, RELATIVE = 5 };
enum { RAM_START = 2 };
enum { MANY = 1000, WARM = 17, LINE = 256 };

static u32 samples[MANY];
static char line[LINE];
static u32 used; // bytes of line
static char shared[64];

static u32 call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3, u32 *second) {
    u32 w[4] = {r0, r1, r2, r3};
    tock(class, w);
    if (second) *second = w[1];
    return w[0];
}

static void wait_for(u32 driver, u32 number) { call(YIELD, WAIT_FOR, driver, number, 0, 0); }

static void print(void) {
    call(ALLOW_RO, CONSOLE, WRITE, (u32)line, used, 0);
    if (call(COMMAND, CONSOLE, WRITE, used, 0, 0) == SUCCESS) wait_for(CONSOLE, WRITE);
    call(ALLOW_RO, CONSOLE, WRITE, 0, 0, 0);
    used = 0;
}

static void text(const char *s) {
    while (*s) line[used++] = *s++;
}

static void decimal(u32 v) {
    char digits[10];
    int n = 0;
    do digits[n++] = '0' + v % 10; while (v /= 10);
    while (n) line[used++] = digits[--n];
}

static void sort(void) {
    for (int gap = MANY / 2; gap > 0; gap /= 2)
        for (int i = gap; i < MANY; i++)
            for (int j = i; j >= gap && samples[j - gap] > samples[j]; j -= gap) {
                u32 v = samples[j];
                samples[j] = samples[j - gap];
                samples[j - gap] = v;
            }
}

static void head(const char *name) {
    text("bench ");
    text(name);
    text(" ");
    decimal(MANY);
    text(" unit=ticks");
}

static void report(const char *name) {
    sort();
    head(name);
    for (int i = 0; i < MANY;) {
        int same = 1;
        while (i + same < MANY && samples[i + same] == samples[i]) same++;
        if (used + 1 + 10 + 1 + 4 + 1 > LINE) {
            text("\n");
            print();
            head(name);
        }
        text(" ");
        decimal(samples[i]);
        text("*");
        decimal(same);
        i += same;
    }
    text("\n");
    print();
}

static void mark(u32 which) { call(COMMAND, BENCHMARK, MARK, which, 0, 0); }

// measure measures one path. result is what the call's first word has to be.
static void measure(const char *name, void (*f)(struct call *), struct call c, u32 result) {
    call(COMMAND, ALARM, RELATIVE, 2000, 0, 0); // behind it a time slice begins
    wait_for(ALARM, 0);
    u32 failures = 0;
    for (int i = 0; i < WARM; i++) f(&c);
    mark(MARK_BEGIN);
    for (int i = 0; i < MANY; i++) {
        f(&c);
        failures += c.result != result;
        samples[i] = c.ticks;
    }
    mark(MARK_END);
    if (failures) {
        text("bench ");
        text(name);
        text(" skipped: it failed ");
        decimal(failures);
        text(" times\n");
        print();
        return;
    }
    report(name);
}

static void nothing(void) {}

static void measure_all(void) {
    u32 flag = 0;
    struct call null = {COMMAND, {BENCHMARK}, {0}, 0, 0};
    measure("Empty32", empty, null, BENCHMARK);
    measure("NullCommand32", once, null, SUCCESS);
    measure("YieldNoWait32", once, (struct call){YIELD, {NO_WAIT, (u32)&flag}, {0}, 0, 0}, 0);
    measure("Subscribe32", once, (struct call){SUBSCRIBE, {BENCHMARK, 0, (u32)nothing, 1}, {0}, 0, 0}, SUCCESS + 2);
    measure("AllowReadWrite32", once,
            (struct call){ALLOW_RW, {BENCHMARK, 0, (u32)shared, sizeof shared}, {0}, 0, 0}, SUCCESS + 2);
    measure("Memop32", once, (struct call){MEMOP, {RAM_START}, {0}, 0, 0}, SUCCESS + 1);
    call(SUBSCRIBE, BENCHMARK, 0, 0, 0, 0);
    measure("UpcallRoundTrip32", twice,
            (struct call){COMMAND, {BENCHMARK, EVENT, 1, 2}, {WAIT_FOR, BENCHMARK, 0}, 0, 0}, 1);
}

int main(void) {
    static const char name[] = "bench32";
    u32 own, client[4];
    call(ALLOW_RO, IPC, 0, (u32)name, sizeof name - 1, 0);
    if (call(COMMAND, IPC, DISCOVER, 0, 0, &own) != SUCCESS + 1) return 1;
    client[0] = WAIT_FOR, client[1] = IPC, client[2] = own, client[3] = 0;
    tock(YIELD, client);
    if (call(COMMAND, BENCHMARK, 0, 0, 0, 0) == SUCCESS) measure_all();
    call(COMMAND, IPC, NOTIFY_CLIENT, client[0], 0, 0);
    return 0;
}
