// Arguments and environment for 32-bit programs, with libtock-c and without (docs/abi.md, "0xe0001 Environment"). The machine was given them by
// kapsel run IMAGE TASK... --env NAME=VALUE -- ARG...; all its tasks have the same. Errors are Tock's, as numbers below 0: -7 is SIZE, -11 is NODEVICE.
#pragma once

// Reads the arguments, or the environment, into a buffer: strings, each with a zero byte behind it. It returns how many bytes they are, 0 also in a machine that was given
// none, or SIZE, having read nothing, if the buffer has fewer.
int kapsel_arguments(char *buffer, unsigned size);
int kapsel_environment(char *buffer, unsigned size);

// Finds the string behind one of those that were read, the first behind 0. It returns 0 behind the last.
const char *kapsel_next_string(const char *strings, int length, const char *string);

// Finds the value of a variable in an environment that was read, or 0.
const char *kapsel_variable(const char *environment, int length, const char *name);

// Has f called, while the task yields, when the host asks the tasks to end: once. It returns 0, or NODEVICE in a machine where nobody can ask.
int kapsel_on_terminate(void (*f)(void));
