#pragma once

// A histogram as text: the compressed form that HdrHistogram calls V2, which its logs hold, in
// base64. A header of 40 bytes, then the counts from the first bucket to the last that has any, each a
// ZigZag LEB128 number, where a negative one stands for so many buckets without; then zlib.

#include "histogram.hpp"

#include <optional>
#include <string>
#include <string_view>

std::string encode(const Histogram& histogram);

/// Reads what `encode` has written, by whichever program. Empty if it is no such text, or one with
/// other buckets than ours.
std::optional<Histogram> decode_histogram(std::string_view text);
