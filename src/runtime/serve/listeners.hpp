#pragma once

#include <ringlet/server.hpp>
#include <ringlet/stream_listener.hpp>

#include "serve/hand_over.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ringlet {

/// The listeners of each worker: each has at least one for each address. Uses what `taken` was offered; it may be null.
Result<std::vector<std::vector<StreamListener>>>
bind_all(const std::vector<ListenAddress>& addresses, std::size_t workers,
         const ListenOptions& options, TakeOver* taken);

/// Which `fd:NAME` of `ServeOptions::listen` is not available, and why: for an operator.
std::string explain_given(std::string_view listen);

/// The addresses that `options` name, looked up.
Result<std::vector<ListenAddress>> addresses_of(const ServeOptions& options);

} // namespace ringlet
