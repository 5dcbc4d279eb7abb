#include "base/cpus.hpp"

#include "support.hpp"

#include <algorithm>
#include <thread>
#include <vector>

using namespace ringlet;

TEST_CASE("CpuSet has the CPUs of this thread, in ascending order") {
    const std::vector<int> cpus = CpuSet::of_this_thread()->numbers();
    REQUIRE_FALSE(cpus.empty());
    CHECK(std::is_sorted(cpus.begin(), cpus.end()));
    CHECK(cpus.front() >= 0);
}

TEST_CASE("CpuSet pins a thread to one CPU, and unpins it") {
    std::thread([] {
        auto before = CpuSet::of_this_thread();
        REQUIRE(before);
        const int last = before->numbers().back();
        auto kept = CpuSet::of(last).apply();
        REQUIRE(kept);
        CHECK(CpuSet::of_this_thread()->numbers() == std::vector{last});
        CHECK(::sched_getcpu() == last);
        auto let_go = before->apply();
        REQUIRE(let_go);
        CHECK(CpuSet::of_this_thread()->numbers() == before->numbers());
    }).join();
}

TEST_CASE("CpuSet can name a CPU beyond CPU_SETSIZE, and fails to pin to a missing one") {
    const CpuSet far = CpuSet::of(5 * CPU_SETSIZE + 1);
    CHECK(far.numbers() == std::vector{5 * CPU_SETSIZE + 1});
    auto kept = far.apply();
    CHECK(kept.error() == std::errc::invalid_argument);
    auto nowhere = CpuSet().apply();
    CHECK(nowhere.error() == std::errc::invalid_argument);
}
