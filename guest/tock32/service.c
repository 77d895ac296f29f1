#include "service.h"

// Classes of system calls, kinds of Yield, a variant of results, and errors.
enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO };
enum { WAIT = 1, WAIT_FOR };
enum { FAILURE = 0 };
enum { FAIL = 1, BUSY, ALREADY, LAST = 13 };

// Numbers of the driver.
enum { DRIVER = 0xe0000 };
enum { SERVE = 1, ANSWER, REFUSE, CALL, USED_UP };
enum { REQUEST_CAME, ANSWER_CAME, ANSWER_READ };
enum { ANSWER_BUFFER, NAME_BUFFER, ASK_BUFFER, READ_WRITE, REQUEST_BUFFER = READ_WRITE, REPLY_BUFFER, BUFFERS };

typedef struct { unsigned r[4]; } words;

void tock(unsigned class, unsigned words[4]); // start.S

static words call(unsigned class, unsigned r0, unsigned r1, unsigned r2, unsigned r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

static words command(unsigned number, unsigned a, unsigned b) { return call(COMMAND, DRIVER, number, a, b); }
static int failure(words w) { return w.r[0] == FAILURE ? -(int)w.r[1] : 0; }

// An event is what the driver told of, and whether it did.
typedef struct { unsigned here, a, b, c; } event;

static const kapsel_service *serving;
static unsigned depth; // requests that are worked on: as many of the buffers are in use
static volatile event came, answered;

// What the driver has by an allow number: the read-only ones, then the read-write ones.
static struct { const void *bytes; unsigned length; } shared[BUFFERS];

static void tell(int a, int b, int c, void *userdata) {
    volatile event *e = userdata;
    e->a = a, e->b = b, e->c = c, e->here = 1;
}

static char *buffers(unsigned at) { return (char *)serving->buffers + at * (serving->request + serving->reply); }

// share shares bytes with the driver, unless it has them.
static void share(unsigned number, const void *bytes, unsigned length) {
    if (shared[number].bytes == bytes && shared[number].length == length) return;
    shared[number].bytes = bytes, shared[number].length = length;
    if (number < READ_WRITE) call(ALLOW_RO, DRIVER, number, (unsigned)bytes, length);
    else call(ALLOW_RW, DRIVER, number - READ_WRITE, (unsigned)bytes, length);
}

// expect_request shares the buffer for the next request, if the task serves and has one.
static void expect_request(void) {
    if (!serving) return;
    int free = depth < serving->depth;
    share(REQUEST_BUFFER, free ? buffers(depth) : 0, free ? serving->request : 0);
}

// serve has the driver give the task requests.
static int serve(void) {
    for (unsigned i = 0; i < BUFFERS; i++) shared[i].length = ~0u;
    expect_request();
    int e = failure(command(SERVE, 0, 0));
    return e == -ALREADY ? 0 : e;
}

// work has the handler answer a request that came.
static void work(unsigned number, unsigned length) {
    if (depth == serving->depth) { // it came without a byte, for which no buffer is needed
        command(REFUSE, number, BUSY);
        return;
    }
    char *request = buffers(depth), *reply = request + serving->request;
    const void *waiting = shared[REPLY_BUFFER].bytes; // of a call of the host's
    unsigned size = shared[REPLY_BUFFER].length;
    depth++;
    int n = serving->handler(request, length, reply, serving->reply, serving->userdata);
    depth--;
    if (size != ~0u) share(REPLY_BUFFER, waiting, size);
    expect_request();
    if (n < 0) {
        command(REFUSE, number, n < -LAST ? FAIL : (unsigned)-n);
        return;
    }
    share(ANSWER_BUFFER, reply, serving->reply);
    words w = command(ANSWER, number, n);
    if (!failure(w) && w.r[1] != 0) call(YIELD, WAIT_FOR, DRIVER, ANSWER_READ, 0);
}

int kapsel_service_serve(const kapsel_service *service) {
    serving = service;
    for (;;) {
        int e = serve();
        if (e) return e;
        for (;;) {
            words w = {{0, came.a, came.b, 0}};
            if (!came.here) {
                words told = call(YIELD, WAIT_FOR, DRIVER, REQUEST_CAME, 0);
                w.r[1] = told.r[0], w.r[2] = told.r[1];
            }
            came.here = 0;
            if (w.r[1] == 0) break; // the driver was made anew
            work(w.r[1], w.r[2]);
        }
    }
}

int kapsel_service_call(const char *name, const void *request, unsigned length, void *reply, unsigned size) {
    unsigned letters = 0;
    while (name[letters]) letters++;
    call(SUBSCRIBE, DRIVER, REQUEST_CAME, (unsigned)tell, (unsigned)&came);
    call(SUBSCRIBE, DRIVER, ANSWER_CAME, (unsigned)tell, (unsigned)&answered);
    share(NAME_BUFFER, name, letters);
    share(ASK_BUFFER, request, length);
    share(REPLY_BUFFER, reply, size);
    expect_request();
    words w = command(CALL, length, 0);
    int e = failure(w);
    if (e) return e;
    answered.here = 0;
    while (!answered.here || (answered.c != w.r[1] && answered.c != 0)) {
        unsigned here = came.here;
        came.here = 0;
        if (!here) call(YIELD, WAIT, 0, 0, 0);
        else if (came.a == 0) serve(); // the driver was made anew
        else work(came.a, came.b);
    }
    answered.here = 0;
    return answered.a ? -(int)answered.a : (int)answered.b;
}

void kapsel_service_out_of_memory(void) { command(USED_UP, 0, 0); }
