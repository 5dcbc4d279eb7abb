#pragma once

// SIGINT and SIGTERM end a run early: what was measured until then is reported.

#include <ringlet/unique_fd.hpp>

#include <csignal>

class Interruption {
public:
    /// While it lives, both signals stay pending until asked for, even in threads and processes started
    /// meanwhile. A signal that this process ignores stays ignored.
    Interruption();
    Interruption(const Interruption&) = delete;
    Interruption& operator=(const Interruption&) = delete;
    /// Restores what both signals did before. Those that came until then count as handled.
    ~Interruption();

    [[nodiscard]] int fd() const { return fd_.get(); } ///< can be read when one has come

    /// The first signal that has come; 0: none.
    int signal();

private:
    sigset_t before_{};
    ringlet::UniqueFd fd_;
    int signal_ = 0;
};

/// "SIGINT", "SIGTERM".
const char* signal_name(int signal);

/// The exit status of a run that a signal has ended, as shells report it.
constexpr int interrupted_status(int signal) { return 128 + signal; }

/// Ends the program by the signal that its status stands for, so that a shell knows why, and stops a loop of
/// commands as well. Returns the status if it stands for none, or the signal does not end this process.
int end_by_signal(int status);
