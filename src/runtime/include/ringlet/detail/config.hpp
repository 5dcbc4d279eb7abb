#pragma once

// What every public header must know about the compiler, and the systems that ringlet does not support. Each has a
// one-line message that says what to do; CMake says the same (cmake/requirements.cmake).

#if !defined(__linux__)
#error "ringlet needs Linux: it is made of io_uring and epoll"
#elif __cplusplus < 202002L
#error "ringlet needs C++20: compile with -std=c++20"
#elif defined(__clang__) && __clang_major__ < 16
#error "ringlet needs clang 16 or newer"
#elif !defined(__clang__) && defined(__GNUC__) && __GNUC__ < 12
#error "ringlet needs g++ 12 or newer"
#elif !defined(__cpp_exceptions)
#error "ringlet needs exceptions, to report what a handler throws: compile without -fno-exceptions"
#elif __SIZEOF_POINTER__ < 8
#error "ringlet needs a 64-bit system: compile without -m32"
#endif

/// Goes before the namespace name: a shared library exports what is declared there. Declarations in private headers
/// are not exported.
#define RINGLET_EXPORT [[gnu::visibility("default")]]
