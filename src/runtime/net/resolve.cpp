#include <ringlet/resolve.hpp>

#include <ringlet/run_blocking.hpp>

#include "base/kernel.hpp"

#include <utility>

namespace ringlet {

Task<Result<std::vector<Endpoint>>> resolve(std::string host_and_port) {
    // A number needs no thread.
    if (auto known = Endpoint::parse(host_and_port)) co_return std::vector<Endpoint>{*known};
    auto look_up = [](const std::string& text) { return Kernel::of_this_thread().resolve(text); };
    auto found = co_await run_blocking(look_up, std::move(host_and_port));
    co_return found;
}

} // namespace ringlet
