#pragma once

// Threads that serve a loop must take no signal away from those that wait for it.

#include <csignal>
#include <thread>
#include <utility>

#include <pthread.h>

namespace ringlet {

/// Starts a thread with all signals blocked. The calling thread's mask is as before afterwards, also when
/// there is no thread.
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
