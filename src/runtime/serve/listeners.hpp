#pragma once

#include <ringlet/server.hpp>
#include <ringlet/stream_listener.hpp>

#include "serve/hand_over.hpp"

#include <cstddef>
#include <vector>

namespace ringlet {

/// The listeners of each worker: each has at least one for each address. What `taken` was offered is used; it may be null.
Result<std::vector<std::vector<StreamListener>>>
bind_all(const std::vector<ListenAddress>& addresses, std::size_t workers,
         const ListenOptions& options, TakeOver* taken);

/// What `options` say, looked up.
Result<std::vector<ListenAddress>> addresses_of(const ServeOptions& options);

} // namespace ringlet
