// Tock's system calls for a 32-bit program without libtock-c (docs/abi.md, section 1, "32-bit tasks").
#pragma once

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef struct { u32 r[4]; } words;

void tock(u32 class, u32 *words);                // start.S
void exit(int code) __attribute__((noreturn));   // start.S
int main(char *app, char *ram, u32 ram_size, char *initial_break);

enum { YIELD, SUBSCRIBE, COMMAND, ALLOW_RW, ALLOW_RO, MEMOP, EXIT, ALLOW_READABLE };
enum { NO_WAIT, WAIT, WAIT_FOR };
enum { FAILURE = 0, FAILURE_2U32 = 2, SUCCESS = 128, SUCCESS_U32 = 129, SUCCESS_2U32 = 130, SUCCESS_U64 = 131, SUCCESS_3U32 = 132 };
enum { FAIL = 1, BUSY, ALREADY, OFF, RESERVE, INVAL, SIZE, CANCEL, NOMEM, NOSUPPORT, NODEVICE, UNINSTALLED, NOACK };

static inline words call(u32 class, u32 r0, u32 r1, u32 r2, u32 r3) {
    words w = {{r0, r1, r2, r3}};
    tock(class, w.r);
    return w;
}
