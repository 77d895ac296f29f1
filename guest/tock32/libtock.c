// What libtock-c has for each architecture, for 32-bit x86: the system calls that its tock.h declares. Each is the call of docs/abi.md,
// section 1, "32-bit tasks": the class in EAX, four words on the stack, which the results replace.

#include <stdlib.h>

#include "libtock/tock.h"

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_READWRITE, ALLOW_READONLY, MEMOP, EXIT, ALLOW_USERSPACE_READ };
enum { NO_WAIT, WAIT, WAIT_FOR };
enum { TERMINATE, RESTART };

typedef struct { uint32_t r[4]; } words;

void tock(uint32_t class, uint32_t words[4]);

static words call(uint32_t class, uint32_t r0, uint32_t r1, uint32_t r2, uint32_t r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}

void yield(void) { call(YIELD, WAIT, 0, 0, 0); }

int yield_no_wait(void) {
    volatile uint8_t ran = 0;
    call(YIELD, NO_WAIT, (uint32_t)&ran, 0, 0);
    return ran;
}

yield_waitfor_return_t yield_wait_for(uint32_t driver, uint32_t number) {
    words w = call(YIELD, WAIT_FOR, driver, number, 0);
    return (yield_waitfor_return_t){w.r[0], w.r[1], w.r[2]};
}

void tock_exit(uint32_t completion_code) {
    call(EXIT, TERMINATE, completion_code, 0, 0);
    __builtin_unreachable();
}

void tock_restart(uint32_t completion_code) {
    call(EXIT, RESTART, completion_code, 0, 0);
    __builtin_unreachable();
}

syscall_return_t command(uint32_t driver, uint32_t number, int arg1, int arg2) {
    words w = call(COMMAND, driver, number, arg1, arg2);
    return (syscall_return_t){w.r[0], {w.r[1], w.r[2], w.r[3]}};
}

// swap makes a call that answers with the pair that was there before, or with an error and the pair that was passed.
static words swap(uint32_t class, uint32_t driver, uint32_t number, const void *first, uint32_t second) {
    words w = call(class, driver, number, (uint32_t)first, second);
    if (w.r[0] == TOCK_SYSCALL_SUCCESS_U32_U32) return (words){{true, w.r[1], w.r[2], TOCK_STATUSCODE_SUCCESS}};
    if (w.r[0] == TOCK_SYSCALL_FAILURE_U32_U32) return (words){{false, w.r[2], w.r[3], w.r[1]}};
    exit(1);
}

subscribe_return_t subscribe(uint32_t driver, uint32_t number, subscribe_upcall upcall, void *userdata) {
    words w = swap(SUBSCRIBE, driver, number, (const void *)upcall, (uint32_t)userdata);
    return (subscribe_return_t){w.r[0], (subscribe_upcall *)w.r[1], (void *)w.r[2], w.r[3]};
}

allow_rw_return_t allow_readwrite(uint32_t driver, uint32_t number, void *ptr, size_t size) {
    words w = swap(ALLOW_READWRITE, driver, number, ptr, size);
    return (allow_rw_return_t){w.r[0], (void *)w.r[1], w.r[2], w.r[3]};
}

allow_userspace_r_return_t allow_userspace_read(uint32_t driver, uint32_t number, void *ptr, size_t size) {
    words w = swap(ALLOW_USERSPACE_READ, driver, number, ptr, size);
    return (allow_userspace_r_return_t){w.r[0], (void *)w.r[1], w.r[2], w.r[3]};
}

allow_ro_return_t allow_readonly(uint32_t driver, uint32_t number, const void *ptr, size_t size) {
    words w = swap(ALLOW_READONLY, driver, number, ptr, size);
    return (allow_ro_return_t){w.r[0], (const void *)w.r[1], w.r[2], w.r[3]};
}

memop_return_t memop(uint32_t op_type, uintptr_t arg1) {
    words w = call(MEMOP, op_type, arg1, 0, 0);
    switch (w.r[0]) {
    case TOCK_SYSCALL_SUCCESS: return (memop_return_t){TOCK_STATUSCODE_SUCCESS, 0};
    case TOCK_SYSCALL_SUCCESS_U32: return (memop_return_t){TOCK_STATUSCODE_SUCCESS, w.r[1]};
    case TOCK_SYSCALL_FAILURE: return (memop_return_t){w.r[1], 0};
    }
    exit(1);
}
