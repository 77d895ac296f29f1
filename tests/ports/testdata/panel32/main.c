// A program for Tock's x86 port that uses the ADC, the DAC, the buzzer and the text screen by the calls of libtock-c. It ends with
// the line of the first check that failed as its completion code, or with 0.

typedef unsigned int u32;
typedef struct { u32 r[4]; } words;

void tock(u32 class, u32 *words);

static words call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO };
enum { FAILURE = 0, SUCCESS = 128, SUCCESS_U32 = 129 };
enum { BUSY = 2, OFF = 4, INVAL = 6, NOMEM = 9, NOSUPPORT = 10, NODEVICE = 11 };
enum { ADC = 5, DAC = 6, BUZZER = 0x90000, SCREEN = 0x90003 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static int is(words w, u32 r0, u32 r1, u32 r2, u32 r3) {
    return w.r[0] == r0 && w.r[1] == r1 && w.r[2] == r2 && w.r[3] == r3;
}
static words command(u32 driver, u32 number, u32 a, u32 b) { return call(COMMAND, driver, number, a, b); }
static int succeeded(words w) { return is(w, SUCCESS, 0, 0, 0); }
static int failed(words w, u32 error) { return is(w, FAILURE, error, 0, 0); }
static int gives(words w, u32 value) { return is(w, SUCCESS_U32, value, 0, 0); }

static volatile u32 count, got[3];

static void upcall(u32 a, u32 b, u32 c, void *userdata) {
    got[0] = a, got[1] = b, got[2] = c;
    *(volatile u32 *)userdata += 1;
}

// ends waits until a driver's upcall has come, and reports whether it had these arguments.
static int ends(u32 a, u32 b, u32 c) {
    while (count == 0) call(YIELD, 1, 0, 0, 0);
    return --count == 0 && got[0] == a && got[1] == b && got[2] == c;
}

// capsules/core/src/adc.rs, AdcVirtualized
static int adc(void) {
    static const u32 want[] = {7, 8, 9, 7};
    call(SUBSCRIBE, ADC, 0, (u32)upcall, (u32)&count);
    CHECK(gives(command(ADC, 0, 0, 0), 2));
    CHECK(gives(command(ADC, 101, 1, 0), 12));
    CHECK(gives(command(ADC, 102, 1, 0), 3300));
    for (u32 i = 0; i < sizeof want / sizeof *want; i++) {
        CHECK(succeeded(command(ADC, 1, 1, 0)));
        CHECK(ends(0, 1, want[i] << 4));
    }
    CHECK(failed(command(ADC, 1, 2, 0), NODEVICE));
    CHECK(failed(command(ADC, 101, 2, 0), NODEVICE));
    CHECK(failed(command(ADC, 102, ~0u, 0), NODEVICE));
    for (u32 number = 2; number <= 5; number++) CHECK(failed(command(ADC, number, 0, 100), NOSUPPORT));
    return 0;
}

// capsules/extra/src/dac.rs
static int dac(void) {
    CHECK(succeeded(command(DAC, 0, 0, 0)));
    CHECK(succeeded(command(DAC, 1, 0, 0)));
    for (u32 v = 32; v < 35; v++) {
        words w;
        do w = command(DAC, 2, v, 0); while (failed(w, BUSY));
        CHECK(succeeded(w));
    }
    CHECK(failed(command(DAC, 2, 4096, 0), INVAL));
    CHECK(failed(command(DAC, 3, 0, 0), NOSUPPORT));
    return 0;
}

// capsules/extra/src/buzzer_driver.rs
static int buzzer(void) {
    call(SUBSCRIBE, BUZZER, 0, (u32)upcall, (u32)&count);
    CHECK(succeeded(command(BUZZER, 0, 0, 0)));
    CHECK(failed(command(BUZZER, 3, 0, 0), OFF));
    CHECK(succeeded(command(BUZZER, 1, 262, 60000)));
    CHECK(succeeded(command(BUZZER, 1, 330, 20)));
    CHECK(failed(command(BUZZER, 1, 392, 10), NOMEM));
    CHECK(succeeded(command(BUZZER, 3, 0, 0)));
    CHECK(ends(0, 0, 0));
    CHECK(ends(0, 0, 0));
    CHECK(failed(command(BUZZER, 4, 0, 0), NOSUPPORT));
    return 0;
}

// capsules/extra/src/text_screen.rs
static int screen(void) {
    static const char text[] = "thirty-two bits";
    call(SUBSCRIBE, SCREEN, 0, (u32)upcall, (u32)&count);
    CHECK(succeeded(command(SCREEN, 0, 0, 0)));
    CHECK(succeeded(command(SCREEN, 1, 0, 0)));
    CHECK(ends(0, 80, 25));
    CHECK(failed(command(SCREEN, 8, 5, 0), NOMEM));
    CHECK(is(call(ALLOW_RO, SCREEN, 0, (u32)text, sizeof text - 1), 130, 0, 0, 0));
    CHECK(failed(command(SCREEN, 8, 0, 0), NOMEM));
    CHECK(succeeded(command(SCREEN, 11, 2, 1)));
    CHECK(ends(0, 0, 0));
    CHECK(succeeded(command(SCREEN, 8, sizeof text + 99, 0)));
    CHECK(ends(0, sizeof text - 1, 0));
    for (u32 number = 2; number <= 7; number++) {
        if (number == 3) continue; // the display off
        CHECK(succeeded(command(SCREEN, number, 0, 0)));
        CHECK(ends(0, 0, 0));
    }
    CHECK(failed(command(SCREEN, 12, 0, 0), NOSUPPORT));
    return 0;
}

int main(void) {
    u32 line = adc();
    if (!line) line = dac();
    if (!line) line = buzzer();
    if (!line) line = screen();
    return line;
}
