#include "loop/thread_pool.hpp"

#include "net.hpp"

#include <future>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

struct Job final : BlockingJob {
    std::function<void()> call;
    void run() noexcept override { call(); }
};

std::shared_ptr<Job> make_job(std::function<void()> call) {
    auto job = std::make_shared<Job>();
    job->call = std::move(call);
    return job;
}

} // namespace

TEST_CASE("ThreadPool runs its jobs, except those forgotten while they were queued") {
    ReportingLoop loop;
    std::promise<void> let_go;
    std::promise<void> begun;
    bool ran = false;
    {
        ThreadPool pool(loop->core(), 1);
        static_cast<void>(pool.run(make_job([&] {
            begun.set_value();
            let_go.get_future().wait();
        })));
        begun.get_future().wait();
        auto waiting = make_job([&] { ran = true; });
        static_cast<void>(pool.run(waiting));
        pool.forget(*waiting);
        CHECK(waiting.use_count() == 1);
        let_go.set_value();
    }
    CHECK_FALSE(ran);
}
