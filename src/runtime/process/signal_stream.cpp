#include <ringlet/signal_stream.hpp>

#include <ringlet/error.hpp>

#include <array>
#include <cerrno>
#include <ctime>

#include <pthread.h>

namespace ringlet {

namespace {

// How many streams of this thread watch each signal: the last one unblocks it.
thread_local std::array<int, _NSIG> watch_counts{};

sigset_t blocked_now() noexcept {
    sigset_t now;
    sigemptyset(&now);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return now;
}

} // namespace

Result<SignalStream> SignalStream::create(std::span<const int> signals) {
    auto state = std::make_unique<State>();
    sigemptyset(&state->watched);
    sigemptyset(&state->blocked_by_us);
    const sigset_t before = blocked_now();
    for (const int number : signals) {
        if (number == SIGKILL || number == SIGSTOP || sigaddset(&state->watched, number) != 0)
            return std::errc::invalid_argument;
        const auto count = watch_counts[static_cast<std::size_t>(number)];
        if (count > 0 || sigismember(&before, number) == 0)
            sigaddset(&state->blocked_by_us, number);
    }
    state->fd = UniqueFd(::signalfd(-1, &state->watched, SFD_CLOEXEC));
    if (!state->fd) return error_from_errno(errno);
    if (const int number = ::pthread_sigmask(SIG_BLOCK, &state->watched, nullptr)) {
        return error_from_errno(number);
    }
    for (int number = 1; number < _NSIG; ++number) {
        if (sigismember(&state->blocked_by_us, number) == 1)
            ++watch_counts[static_cast<std::size_t>(number)];
    }
    return SignalStream(std::move(state));
}

SignalStream::~SignalStream() {
    if (!state_) return;
    const timespec at_once{};
    while (state_->was_asked && ::sigtimedwait(&state_->watched, nullptr, &at_once) > 0) {
    }
    sigset_t unblocked;
    sigemptyset(&unblocked);
    for (int number = 1; number < _NSIG; ++number) {
        if (sigismember(&state_->blocked_by_us, number) == 1 &&
            --watch_counts[static_cast<std::size_t>(number)] == 0)
            sigaddset(&unblocked, number);
    }
    ::pthread_sigmask(SIG_UNBLOCK, &unblocked, nullptr);
    if (state_->use.loop != nullptr) state_->use.loop->close(state_->fd.release(), state_->use);
}

SignalStream::Awaiter SignalStream::next() {
    state_->was_asked = true;
    state_->read.configure(Opcode::read, state_->fd.get(), &state_->information,
                           sizeof state_->information);
    return Awaiter(*state_);
}

bool SignalStream::Awaiter::suspend(CancelScope& scope, std::coroutine_handle<> waiter) {
    if (state_->use.loop == nullptr) scope.loop->use_descriptor(state_->use);
    return scope.loop->start(state_->read, scope, waiter);
}

Result<int> SignalStream::Awaiter::await_resume() const {
    const int answer = state_->read.result;
    state_->read.consume();
    if (answer < 0) return error_from_errno(-answer);
    return static_cast<int>(state_->information.ssi_signo);
}

} // namespace ringlet
