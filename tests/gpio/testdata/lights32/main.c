// The drivers of LEDs, buttons and pins by Tock's x86 convention, each command called as libtock-c does, as the script of tests/gpio moves
// them. The task ends with the line of the first check that failed as its completion code, or with 0. Where there are none, each
// driver has to say so. tests/guest/lights is the same with 64 bits, on other LEDs, buttons and pins.

typedef unsigned int u32;
typedef struct { u32 r[4]; } words;

void tock(u32 class, u32 *words);

static words call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO };
enum { FAILURE = 0, SUCCESS = 128, SUCCESS_U32 = 129, SUCCESS_2U32 = 130 };
enum { INVAL = 6, NOSUPPORT = 10, NODEVICE = 11 };
enum { NO_WAIT, WAIT, WAIT_FOR };
enum { LED = 2, BUTTON = 3, GPIO = 4 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static int is(words w, u32 r0, u32 r1) { return w.r[0] == r0 && w.r[1] == r1 && w.r[2] == 0 && w.r[3] == 0; }
static int done(u32 driver, u32 command, u32 a, u32 b) { return is(call(COMMAND, driver, command, a, b), SUCCESS, 0); }
static int gives(u32 driver, u32 command, u32 a, u32 value) { return is(call(COMMAND, driver, command, a, 0), SUCCESS_U32, value); }
static int fails(u32 driver, u32 command, u32 a, u32 b, u32 why) { return is(call(COMMAND, driver, command, a, b), FAILURE, why); }

static volatile u32 count, told[8][4];

static void recorder(u32 a, u32 b, u32 c, u32 data) {
    volatile u32 *t = told[count++ & 7];
    t[0] = a, t[1] = b, t[2] = c, t[3] = data;
}

static int was(u32 event, u32 button, u32 level) {
    volatile u32 *t = told[event & 7];
    return t[0] == button && t[1] == level && t[2] == 0 && t[3] == 0x1234;
}

// hear yields until so many events of buttons have been told.
static int hear(u32 n) {
    while (count < n) call(YIELD, WAIT, 0, 0, 0);
    return count == n;
}

// pin_is waits until a pin of this task changes: those of others are told, too.
static int pin_is(u32 pin, u32 level) {
    words w;
    do w = call(YIELD, WAIT_FOR, GPIO, 0, 0); while (w.r[0] < 4);
    return is(w, pin, level);
}

static int absent(void) {
    for (u32 driver = LED; driver <= GPIO; driver++) {
        for (u32 command = 0; command < 12; command++) CHECK(fails(driver, command, 0, 0, NODEVICE));
        words w = call(SUBSCRIBE, driver, 0, (u32)recorder, 0);
        CHECK(w.r[0] == 2 && w.r[1] == NODEVICE);
    }
    return 0;
}

// lights: LEDs 2 and 3, by capsules/core/src/led.rs.
static int lights(void) {
    CHECK(gives(LED, 0, 0, 4));
    for (u32 command = 1; command <= 3; command++) {
        CHECK(fails(LED, command, 4, 0, INVAL));
        CHECK(fails(LED, command, ~0u, 0, INVAL));
        CHECK(done(LED, command, 3, 0)); // on, off, on
    }
    CHECK(done(LED, 3, 3, 0));
    CHECK(fails(LED, 4, 0, 0, NOSUPPORT));
    CHECK(fails(LED, ~0u, 0, 0, NOSUPPORT));
    return 0;
}

// buttons: buttons 2 and 3, by capsules/core/src/button.rs.
static int buttons(void) {
    CHECK(gives(BUTTON, 0, 0, 4));
    for (u32 command = 1; command <= 3; command++) {
        CHECK(fails(BUTTON, command, 4, 0, INVAL));
        CHECK(fails(BUTTON, command, ~0u, 0, INVAL));
    }
    CHECK(fails(BUTTON, 4, 9, 0, NOSUPPORT));
    CHECK(call(SUBSCRIBE, BUTTON, 1, (u32)recorder, 0).r[1] == NOSUPPORT);
    CHECK(call(SUBSCRIBE, BUTTON, 0, (u32)recorder, 0x1234).r[0] == SUCCESS_2U32);
    CHECK(done(BUTTON, 1, 2, 0));
    CHECK(gives(BUTTON, 3, 2, 0));
    CHECK(done(LED, 1, 2, 0)); // button 2 is pressed and released
    CHECK(hear(2) && was(0, 2, 1) && was(1, 2, 0));
    CHECK(done(BUTTON, 1, 3, 0));
    CHECK(done(BUTTON, 2, 2, 0));
    CHECK(done(LED, 2, 2, 0)); // button 2 is pressed, and button 3
    CHECK(hear(3) && was(2, 3, 1));
    CHECK(gives(BUTTON, 3, 3, 1));
    while (gives(BUTTON, 3, 2, 0)) ; // it is read without being told
    CHECK(gives(BUTTON, 3, 2, 1));
    return 0;
}

// pins: pin 4 is an output, pins 5 and 6 are inputs, by capsules/core/src/gpio.rs.
static int pins(void) {
    CHECK(done(GPIO, 0, 0, 0));
    CHECK(gives(GPIO, 10, 0, 8));
    for (u32 command = 1; command <= 9; command++) {
        CHECK(fails(GPIO, command, 8, 0, INVAL));
        CHECK(fails(GPIO, command, ~0u, 0, INVAL));
    }
    CHECK(fails(GPIO, 11, 0, 0, NOSUPPORT));
    CHECK(fails(GPIO, 5, 7, 3, NOSUPPORT));
    CHECK(fails(GPIO, 7, 7, 3, NOSUPPORT));
    for (u32 pull = 0; pull < 3; pull++) CHECK(done(GPIO, 5, 5, pull));
    CHECK(done(GPIO, 5, 6, 0));
    CHECK(done(GPIO, 7, 5, 2)); // falling
    CHECK(done(GPIO, 7, 6, 0)); // either
    CHECK(done(GPIO, 2, 4, 0) && gives(GPIO, 6, 4, 0));
    CHECK(done(GPIO, 1, 4, 0) && gives(GPIO, 6, 4, 1)); // pin 5 goes up, which is not told, and down
    CHECK(pin_is(5, 0) && gives(GPIO, 6, 5, 0));
    CHECK(done(GPIO, 3, 4, 0) && gives(GPIO, 6, 4, 0)); // pin 6 goes up
    CHECK(pin_is(6, 1) && gives(GPIO, 6, 6, 1));
    CHECK(done(GPIO, 4, 4, 0)); // pin 6 goes down
    CHECK(pin_is(6, 0));
    CHECK(done(GPIO, 8, 6, 0) && done(GPIO, 9, 5, 0) && done(GPIO, 9, 4, 0));
    return 0;
}

int main(void) {
    if (fails(LED, 0, 0, 0, NODEVICE)) return absent();
    int line = lights();
    if (!line) line = buttons();
    if (!line) line = pins();
    return line;
}
