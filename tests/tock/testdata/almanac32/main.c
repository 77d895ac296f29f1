// The drivers of date and time and of app flash by Tock's x86 convention, called as libtock-c does. The task ends with the line of the
// first check that failed as its completion code, or with 0. tests/guest/almanac is the same with 64 bits.
#include "tock32.h"

enum { APP_FLASH = 0x50000, DATE_TIME = 0x90007, REGION_START = 8, REGION = 0x40 };

#define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

static volatile u32 fired, told[3];

static void upcall(u32 a, u32 b, u32 c, void *userdata) {
    told[0] = a, told[1] = b, told[2] = c;
    *(volatile u32 *)userdata += 1;
}

static words command(u32 driver, u32 number, u32 a, u32 b) { return call(COMMAND, driver, number, a, b); }
static int is(words w, u32 r0, u32 r1) { return w.r[0] == r0 && w.r[1] == r1 && w.r[2] == 0 && w.r[3] == 0; }

// ends gives a command that begins something, and waits for its upcall.
static int ends(u32 driver, u32 number, u32 a, u32 b) {
    call(SUBSCRIBE, driver, 0, (u32)upcall, (u32)&fired);
    fired = 0;
    if (!is(command(driver, number, a, b), SUCCESS, 0)) return 0;
    while (!fired) call(YIELD, WAIT, 0, 0, 0);
    return fired == 1 && told[0] == 0;
}

static u32 date(u32 year, u32 month, u32 day) { return year << 9 | month << 5 | day; }
static u32 clock(u32 weekday, u32 hour, u32 minute, u32 second) { return weekday << 17 | hour << 12 | minute << 6 | second; }

// capsules/extra/src/date_time.rs
static int date_time(void) {
    CHECK(is(command(DATE_TIME, 0, 0, 0), SUCCESS, 0));
    CHECK(is(command(DATE_TIME, 3, 0, 0), FAILURE, NOSUPPORT));
    CHECK(ends(DATE_TIME, 1, 0, 0));
    CHECK(told[1] >> 9 >= 2024);
    CHECK(ends(DATE_TIME, 2, date(1999, 12, 31), clock(5, 23, 10, 0)));
    CHECK(told[1] == 0 && told[2] == 0);
    CHECK(is(command(DATE_TIME, 1, 0, 0), SUCCESS, 0));
    words w = call(YIELD, WAIT_FOR, DATE_TIME, 0, 0);
    CHECK(w.r[0] == 0 && w.r[1] == date(1999, 12, 31) && w.r[2] >= clock(5, 23, 10, 0) && w.r[2] <= clock(5, 23, 59, 0));
    CHECK(is(command(DATE_TIME, 2, date(1999, 13, 1), 0), FAILURE, INVAL));
    CHECK(is(command(DATE_TIME, 2, date(1999, 1, 1), clock(7, 0, 0, 0)), FAILURE, INVAL));
    CHECK(is(command(DATE_TIME, 2, date(1999, 1, 1), clock(0, 25, 0, 0)), FAILURE, INVAL));
    CHECK(is(command(DATE_TIME, 2, date(1999, 2, 29), 0), FAILURE, INVAL)); // there is no such day, says the clock
    return 0;
}

// capsules/extra/src/app_flash_driver.rs
static int app_flash(u8 *flash) {
    static u8 buffer[REGION + 1] = "kept";
    CHECK(is(command(APP_FLASH, 0, 0, 0), SUCCESS, 0));
    CHECK(is(command(APP_FLASH, 2, 0, 0), FAILURE, NOSUPPORT));
    CHECK(is(command(APP_FLASH, 1, (u32)flash, 0), FAILURE, RESERVE));
    call(ALLOW_RO, APP_FLASH, 0, (u32)buffer, 4);
    CHECK(ends(APP_FLASH, 1, (u32)flash, 0));
    CHECK(flash[0] == 'k' && flash[3] == 't' && flash[4] == 'i');
    CHECK(is(command(APP_FLASH, 1, (u32)flash + REGION - 3, 0), FAILURE, INVAL));
    CHECK(is(command(APP_FLASH, 1, (u32)flash - 1, 0), FAILURE, INVAL));
    CHECK(is(command(APP_FLASH, 1, (u32)buffer, 0), FAILURE, INVAL));
    call(ALLOW_RO, APP_FLASH, 0, (u32)buffer, REGION + 1);
    CHECK(is(command(APP_FLASH, 1, (u32)flash, 0), FAILURE, INVAL));
    call(ALLOW_RO, APP_FLASH, 0, 0, 0);
    return 0;
}

int main(char *app, char *ram, u32 size, char *initial_break) {
    (void)app, (void)ram, (void)size, (void)initial_break;
    u8 *flash = (u8 *)call(MEMOP, REGION_START, 0, 0, 0).r[1];
    if (flash[0] == 'k') return 0; // its second life
    int line = date_time();
    if (line == 0) line = app_flash(flash);
    if (line == 0) call(EXIT, 1, 0, 0, 0);
    return line;
}

// The region that the test's object says is writeable, which it finds by this text: no whole page.
__attribute__((section(".app_state"), aligned(64))) u8 region[REGION] = "nothing yet";
