// Services for 32-bit programs, with libtock-c and without: the host calls the task by its package name, and the task services of the host by
// theirs (docs/services.md). The driver is Kapsel's (docs/abi.md, "0xe0000 Services"). Errors are Tock's, as numbers below 0: -11 is NODEVICE.
#pragma once

// A handler answers a request: it fills at most size bytes of reply, and returns how many of them are the answer, or an error. request and reply are its own until it
// returns.
typedef int kapsel_service_handler(const void *request, unsigned length, void *reply, unsigned size, void *userdata);

// What a task serves with. The buffers are for as many requests as are worked on at a time: more than one only where the handler calls the
// host, and the host's service the task. The host's next call is then refused with SIZE.
typedef struct {
    kapsel_service_handler *handler;
    void *userdata;
    void *buffers;           // depth times request + reply bytes
    unsigned request, reply; // most bytes of each
    unsigned depth;          // 1 to 16
} kapsel_service;

// Serves under the package name of the task. It returns only if it cannot: with an error, NODEVICE in a machine without services. Upcalls
// of other drivers run while the handler waits, not while this does. The structure stays the library's.
int kapsel_service_serve(const kapsel_service *service);

// Calls a service of the host's, and waits for its answer: how many bytes of reply that has, or an error. Meanwhile the task may be called, if it serves, and
// upcalls run.
int kapsel_service_call(const char *name, const void *request, unsigned length, void *reply, unsigned size);

// Says that the memory of the task is used up: if it ends now, its callers are told so.
void kapsel_service_out_of_memory(void);
