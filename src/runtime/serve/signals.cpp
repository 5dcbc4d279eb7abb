#include "serve/signals.hpp"

#include <ringlet/error.hpp>

#include <cerrno>

namespace ringlet {

Result<SignalWatch> SignalWatch::create(int third) {
    auto state = std::make_unique<State>();
    sigemptyset(&state->watched);
    sigaddset(&state->watched, SIGTERM);
    sigaddset(&state->watched, SIGINT);
    if (third != 0) sigaddset(&state->watched, third);
    state->fd = UniqueFd(::signalfd(-1, &state->watched, SFD_CLOEXEC));
    if (!state->fd) return error_from_errno(errno);
    if (const int number = ::pthread_sigmask(SIG_BLOCK, &state->watched, &state->before)) {
        return error_from_errno(number);
    }
    return SignalWatch(std::move(state));
}

SignalWatch::~SignalWatch() {
    if (!state_) return;
    // A signal that came after the last read has been obeyed already: what it asked for has ended.
    // If nothing was ever read, nothing has been obeyed, and the signal is not ours to take.
    const timespec at_once{};
    while (state_->was_read && ::sigtimedwait(&state_->watched, nullptr, &at_once) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &state_->before, nullptr);
    if (state_->use.loop != nullptr) state_->use.loop->close(state_->fd.release(), state_->use);
}

SignalWatch::Awaiter SignalWatch::next() {
    state_->was_read = true;
    state_->read.configure(Opcode::read, state_->fd.get(), &state_->information,
                           sizeof state_->information);
    return Awaiter(*state_);
}

Result<int> SignalWatch::Awaiter::await_resume() const {
    const int answer = state_->read.result;
    state_->read.consume();
    if (answer < 0) return error_from_errno(-answer);
    return static_cast<int>(state_->information.ssi_signo);
}

} // namespace ringlet
