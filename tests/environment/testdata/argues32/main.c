// A program for Tock's x86 port that prints the arguments and the environment that it has. With the argument "wait" it then waits until it is asked to
// end, and ends with the code in the variable CODE.

#include "environment.h"
#include "tock32.h"

static u32 length(const char *text) {
    u32 n = 0;
    while (text[n]) n++;
    return n;
}

// print writes a text to the console, and waits until it is sent.
static void print(const char *text) {
    u32 n = length(text);
    if (n == 0) return;
    call(ALLOW_RO, 1, 1, (u32)text, n);
    call(COMMAND, 1, 1, n, 0);
    call(YIELD, WAIT_FOR, 1, 1, 0);
}

static char arguments[2048], environment[16384];
static int environment_length;

static void end(void) {
    print("argues32: asked to end\n");
    exit(kapsel_variable(environment, environment_length, "CODE")[0] - '0');
}

static void show(const char *what, const char *strings, int n) {
    for (const char *s = 0; (s = kapsel_next_string(strings, n, s));) {
        print(what);
        print(s);
        print(">\n");
    }
}

int main(char *app, char *ram, u32 ram_size, char *initial_break) {
    (void)app, (void)ram, (void)ram_size, (void)initial_break;
    if (kapsel_arguments(arguments, 0) < 0) print("argues32: no room for arguments\n");
    int n = kapsel_arguments(arguments, sizeof arguments);
    environment_length = kapsel_environment(environment, sizeof environment);
    show("argument32 <", arguments, n);
    if (environment_length < 1000) show("variable32 <", environment, environment_length);
    else print("much environment\n");
    if (!kapsel_variable(environment, environment_length, "COD")) print("COD is not there\n");
    print("argues32: read\n");
    if (n < 5 || arguments[0] != 'w') return 0;
    if (kapsel_on_terminate(end)) return 9;
    print("argues32: waits\n");
    for (;;) call(YIELD, WAIT, 0, 0, 0);
}
