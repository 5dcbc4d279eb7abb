#pragma once

// A histogram as text: the compressed form that HdrHistogram calls V2, which its logs hold, in
// base64. A header of 40 bytes, then the counts from the first bucket to the last that has any, each a
// ZigZag LEB128 number, where a negative one stands for that many empty buckets; then zlib.

#include "histogram.hpp"

#include <optional>
#include <string>
#include <string_view>

std::string encode(const Histogram& histogram);

/// Reads the text of `encode`, from any program. Empty if it is not such a text, or has buckets
/// other than ours.
std::optional<Histogram> decode_histogram(std::string_view text);
