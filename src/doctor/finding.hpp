#pragma once

// One line of ringlet_doctor's report. The table and the JSON are both made of these, so that they
// agree.

#include <string>

#include <nlohmann/json.hpp>

enum class Verdict {
    ok,
    low, ///< works, and a server would gain by a change
    no
};

struct Finding {
    std::string group; ///< `machine`, `io_uring`, `epoll`, `other`, `limits` or `servers`
    std::string name;  ///< one word; unique
    Verdict verdict = Verdict::ok;
    std::string value;           ///< for people
    std::string advice;          ///< what to change; empty if nothing
    nlohmann::ordered_json data; ///< for programs: the value in numbers, null if it has none
};
