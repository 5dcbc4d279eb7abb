#pragma once

// What every public header needs to know of the compiler, and the systems on which ringlet cannot work. Each has one
// line that says what to do; CMake says the same (cmake/requirements.cmake).

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

/// Before the name of the namespace: what is declared there is exported by a shared library. What private headers
/// declare is not.
#define RINGLET_EXPORT [[gnu::visibility("default")]]
