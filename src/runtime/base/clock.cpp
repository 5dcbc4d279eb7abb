#include <ringlet/clock.hpp>

#include "base/kernel.hpp"

namespace ringlet {

Clock::time_point Clock::now() noexcept { return Kernel::of_this_thread().now(); }

} // namespace ringlet
