#pragma once

// The addresses at which an operator finds a server, beside that at which it serves.

#include <optional>
#include <string>

struct OwnAddresses {
    std::string metrics = {}; // each may be empty
    std::string backdoor = {};
    std::string hand_over = {};
};

/// Says which of them is none, in a line on stderr. Returns the exit status then.
[[nodiscard]] std::optional<int> refuse_addresses(const OwnAddresses& addresses);
