#pragma once

// Threads that serve a loop must not take signals away from the threads that wait for them.

#include <csignal>
#include <thread>
#include <utility>

#include <pthread.h>

namespace ringlet {

/// Starts a thread with all signals blocked. The calling thread's mask is then restored, even if no
/// thread could be started.
///
/// Errors    As the constructor of `std::thread`: `std::system_error`.
template <class Fn>
[[nodiscard]] std::thread start_quiet_thread(Fn fn) {
    struct Blocked {
        sigset_t before;
        Blocked() noexcept {
            sigset_t all;
            sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, &before);
        }
        ~Blocked() { ::pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    } blocked;
    return std::thread(std::move(fn));
}

} // namespace ringlet
