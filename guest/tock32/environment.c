#include "environment.h"

// Classes of system calls, a variant of results, and errors.
enum { SUBSCRIBE = 1, COMMAND, ALLOW_RW };
enum { FAILURE = 0 };
enum { FAIL = 1, ALREADY = 3, SIZE = 7 };

// Numbers of the driver.
enum { DRIVER = 0xe0001 };
enum { SIZES = 1, READ_ARGUMENTS, READ_ENVIRONMENT, LISTEN };
enum { BUFFER = 0, ASKED = 0 };

typedef struct { unsigned r[4]; } words;

void tock(unsigned class, unsigned words[4]); // start.S

static words call(unsigned class, unsigned r0, unsigned r1, unsigned r2, unsigned r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

// read reads all that a command gives.
static int read(unsigned command, char *buffer, unsigned size) {
    words w = call(COMMAND, DRIVER, SIZES, 0, 0);
    if (w.r[0] == FAILURE) return 0;
    unsigned length = w.r[1 + command - READ_ARGUMENTS];
    if (length > size) return -SIZE;
    for (unsigned at = 0; at < length; at += w.r[1]) {
        call(ALLOW_RW, DRIVER, BUFFER, (unsigned)(buffer + at), length - at);
        w = call(COMMAND, DRIVER, command, at, 0);
        call(ALLOW_RW, DRIVER, BUFFER, 0, 0);
        if (w.r[0] == FAILURE || w.r[1] == 0) return -FAIL; // the driver has failed
    }
    return length;
}

int kapsel_arguments(char *buffer, unsigned size) { return read(READ_ARGUMENTS, buffer, size); }
int kapsel_environment(char *buffer, unsigned size) { return read(READ_ENVIRONMENT, buffer, size); }

const char *kapsel_next_string(const char *strings, int length, const char *string) {
    if (length <= 0) return 0;
    const char *end = strings + length;
    if (!string) return strings;
    while (string < end && *string) string++;
    return end - string > 1 ? string + 1 : 0;
}

const char *kapsel_variable(const char *environment, int length, const char *name) {
    for (const char *s = 0; (s = kapsel_next_string(environment, length, s));) {
        unsigned n = 0;
        while (name[n] && s[n] == name[n]) n++;
        if (!name[n] && s[n] == '=') return s + n + 1;
    }
    return 0;
}

static void (*terminate)(void);

static int listen(void) {
    words w = call(COMMAND, DRIVER, LISTEN, 0, 0);
    return w.r[0] == FAILURE && w.r[1] != ALREADY ? -(int)w.r[1] : 0;
}

static void asked(int asks, int b, int c, void *userdata) {
    (void)b, (void)c, (void)userdata;
    if (asks) terminate();
    else listen(); // the driver was made anew
}

int kapsel_on_terminate(void (*f)(void)) {
    terminate = f;
    words w = call(SUBSCRIBE, DRIVER, ASKED, (unsigned)asked, 0);
    return w.r[0] == 2 /* failure with the pair */ ? -(int)w.r[1] : listen();
}
