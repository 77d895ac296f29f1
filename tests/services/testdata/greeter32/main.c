// A program for Tock's x86 port that serves the host as "greeter32": what a request asks for is its first word.

#include "tock32.h"
#include "service.h"

enum { MOST = 3000, DEPTH = 4 };

// is reports whether a request's first word is that.
static int is(const char *request, u32 length, const char *word) {
    u32 i = 0;
    while (i < length && word[i] && request[i] == word[i]) i++;
    return !word[i] && (i == length || request[i] == ' ');
}

static int append(char *reply, int at, const char *text, u32 length) {
    for (u32 i = 0; i < length; i++) reply[at++] = text[i];
    return at;
}

static int handle(const void *request, unsigned length, void *reply, unsigned size, void *userdata) {
    const char *text = request;
    u32 first = 0;
    while (first < length && text[first] != ' ') first++;
    const char *rest = text + first + (first < length);
    u32 left = length - (rest - text);
    ++*(u32 *)userdata;
    if (length == 0) return 0;
    if (is(text, length, "greet")) return append(reply, append(reply, append(reply, 0, "Hello, ", 7), rest, left), "!", 1);
    if (is(text, length, "echo")) return append(reply, 0, text, length);
    if (is(text, length, "refuse")) return -NOACK;
    if (is(text, length, "much")) return MOST + 1;
    if (is(text, length, "nest")) return kapsel_service_call("nest", rest, left, reply, size);
    if (is(text, length, "fault")) *(volatile int *)0 = 1;
    if (is(text, length, "exit")) exit(0);
    if (is(text, length, "exhaust")) {
        while (call(MEMOP, 1, 4096, 0, 0).r[0] == SUCCESS_U32) {} // sbrk
        kapsel_service_out_of_memory();
        exit(1);
    }
    if (is(text, length, "count")) {
        char *digits = reply;
        int n = 0;
        for (u32 unit = 1000; unit; unit /= 10) digits[n++] = '0' + *(u32 *)userdata / unit % 10;
        return n;
    }
    return -NOSUPPORT;
}

static char buffers[DEPTH * 2 * MOST];

int main(char *app, char *ram, u32 ram_size, char *initial_break) {
    (void)app, (void)ram, (void)ram_size, (void)initial_break;
    u32 count = 0;
    kapsel_service service = {handle, &count, buffers, MOST, MOST, DEPTH};
    return -kapsel_service_serve(&service);
}
