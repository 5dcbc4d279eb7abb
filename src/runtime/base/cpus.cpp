#include "base/cpus.hpp"

#include <ringlet/error.hpp>

#include <cerrno>
#include <cstddef>

namespace ringlet {

namespace {

std::size_t size_bytes(const std::vector<cpu_set_t>& parts) {
    return parts.size() * sizeof(cpu_set_t);
}

} // namespace

Result<CpuSet> CpuSet::of_this_thread() {
    constexpr std::size_t most_parts = 64;
    CpuSet set;
    for (std::size_t count = 1;; count *= 2) {
        set.parts_.assign(count, cpu_set_t{});
        if (::sched_getaffinity(0, size_bytes(set.parts_), set.parts_.data()) == 0) return set;
        // EINVAL: the kernel has more CPUs than the mask holds.
        if (errno != EINVAL || count == most_parts) return error_from_errno(errno);
    }
}

CpuSet CpuSet::of(int cpu) {
    CpuSet set;
    const auto number = static_cast<std::size_t>(cpu);
    set.parts_.assign(number / CPU_SETSIZE + 1, cpu_set_t{});
    CPU_SET_S(number, size_bytes(set.parts_), set.parts_.data());
    return set;
}

std::vector<int> CpuSet::numbers() const {
    std::vector<int> found;
    for (std::size_t number = 0; number < parts_.size() * CPU_SETSIZE; ++number) {
        if (CPU_ISSET_S(number, size_bytes(parts_), parts_.data())) {
            found.push_back(static_cast<int>(number));
        }
    }
    return found;
}

Result<void> CpuSet::apply() const {
    if (::sched_setaffinity(0, size_bytes(parts_), parts_.data()) == 0) return {};
    return error_from_errno(errno);
}

} // namespace ringlet
