#include "interruption.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

Interruption::Interruption() {
    sigset_t awaited;
    sigemptyset(&awaited);
    for (const int number : {SIGINT, SIGTERM}) {
        struct sigaction now{};
        ::sigaction(number, nullptr, &now);
        // A blocked signal arrives even if it is ignored.
        if (now.sa_handler != SIG_IGN) sigaddset(&awaited, number);
    }
    ::pthread_sigmask(SIG_BLOCK, &awaited, &before_);
    fd_ = ringlet::UniqueFd(::signalfd(-1, &awaited, SFD_CLOEXEC | SFD_NONBLOCK));
}

Interruption::~Interruption() {
    signal();
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int Interruption::signal() {
    signalfd_siginfo information{};
    while (::read(fd_.get(), &information, sizeof information) == sizeof information) {
        if (signal_ == 0) signal_ = static_cast<int>(information.ssi_signo);
    }
    return signal_;
}

const char* signal_name(int signal) { return signal == SIGINT ? "SIGINT" : "SIGTERM"; }

int end_by_signal(int status) {
    for (const int number : {SIGINT, SIGTERM}) {
        if (status != interrupted_status(number)) continue;
        std::signal(number, SIG_DFL);
        std::raise(number); // has no effect in the first process of a namespace
    }
    return status;
}
