#include "base/quiet_thread.hpp"

#include "death.hpp"

#include <system_error>

#include <sys/resource.h>
#include <unistd.h>

using namespace ringlet;

namespace {

bool blocks(int number) {
    sigset_t mask;
    sigemptyset(&mask);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, number) == 1;
}

} // namespace

TEST_CASE("a quiet thread blocks all signals, and the one that started it does not") {
    bool was_quiet = false;
    start_quiet_thread([&] { was_quiet = blocks(SIGTERM) && blocks(SIGUSR1); }).join();
    CHECK(was_quiet);
    CHECK_FALSE(blocks(SIGTERM));
}

TEST_CASE("a quiet thread that cannot start leaves the signals as they were") {
    const auto outcome = testing::run_in_child([] {
        const rlimit none{0, 0};
        const bool limited =
            ::setrlimit(RLIMIT_NPROC, &none) == 0 &&
            (::geteuid() != 0 || ::setresuid(65534, 65534, 65534) == 0); // root has no limit
        try {
            start_quiet_thread([] {}).join();
        } catch (const std::system_error&) {
            ::_exit(limited && !blocks(SIGTERM) ? 0 : 1);
        }
        ::_exit(2);
    });
    CHECK(outcome.succeeded());
}
