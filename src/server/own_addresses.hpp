#pragma once

// The addresses at which an operator reaches a server, beside the one at which it serves.

#include <optional>
#include <string>

struct OwnAddresses {
    std::string metrics = {}; // each may be empty
    std::string backdoor = {};
    std::string hand_over = {};
};

/// Reports the one that is not an address, in a line on stderr. Returns the exit status then.
[[nodiscard]] std::optional<int> refuse_addresses(const OwnAddresses& addresses);
