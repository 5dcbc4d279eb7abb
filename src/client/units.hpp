#pragma once

#include <chrono>

inline double seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

inline double microseconds(std::chrono::duration<double, std::nano> time) {
    return time.count() / 1e3;
}
