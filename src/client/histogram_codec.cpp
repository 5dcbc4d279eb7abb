#include "histogram_codec.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include <zlib.h>

namespace {

// The names of the two forms; they include the 1 before the last digit, which stands for 64-bit counts.
constexpr std::uint32_t plain_cookie = 0x1c849313;
constexpr std::uint32_t compressed_cookie = 0x1c849314;

constexpr std::size_t header_bytes = 40;
constexpr unsigned number_bytes_limit = 9; // the ninth byte has eight bits of the number

// Every bucket has one number of limited size: a text that claims to be longer is not ours.
constexpr std::size_t plain_bytes_limit =
    header_bytes + Histogram::bucket_count * number_bytes_limit;

template <class Number>
void put(std::string& bytes, Number number) {
    for (int shift = sizeof(Number) * 8 - 8; shift >= 0; shift -= 8) {
        bytes += static_cast<char>(number >> shift & 0xff);
    }
}

void put_zig_zag(std::string& bytes, std::int64_t number) {
    auto rest =
        (static_cast<std::uint64_t>(number) << 1) ^ static_cast<std::uint64_t>(number >> 63);
    for (unsigned i = 1; i < number_bytes_limit && rest >= 0x80; ++i) {
        bytes += static_cast<char>((rest & 0x7f) | 0x80);
        rest >>= 7;
    }
    bytes += static_cast<char>(rest);
}

/// Takes numbers from the front of bytes; a missing one sets `failed` and reads as zero.
struct NumberReader {
    std::string_view bytes;
    bool failed = false;

    std::uint8_t byte() {
        if (bytes.empty()) failed = true;
        if (failed) return 0;
        const auto first = static_cast<std::uint8_t>(bytes.front());
        bytes.remove_prefix(1);
        return first;
    }
    template <class Number>
    Number number() {
        Number value = 0;
        for (std::size_t i = 0; i < sizeof(Number); ++i) {
            value = static_cast<Number>(value << 8 | byte());
        }
        return value;
    }
    std::int64_t zig_zag() {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < number_bytes_limit; ++i) {
            const std::uint64_t next = byte();
            const bool is_last = next < 0x80 || i + 1 == number_bytes_limit;
            value |= (i + 1 == number_bytes_limit ? next : next & 0x7f) << 7 * i;
            if (is_last) break;
        }
        return static_cast<std::int64_t>(value >> 1 ^ (~(value & 1) + 1));
    }
};

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string to_base64(std::string_view bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = i; k < i + 3; ++k) {
            group = group << 8 | (k < bytes.size() ? static_cast<std::uint8_t>(bytes[k]) : 0U);
        }
        for (std::size_t k = 0; k < 4; ++k) {
            text += i + k > bytes.size() ? '=' : alphabet[group >> (18 - 6 * k) & 63];
        }
    }
    return text;
}

std::optional<std::string> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    while (text.ends_with('=')) text.remove_suffix(1);
    std::string bytes;
    std::uint32_t group = 0;
    unsigned bits = 0;
    for (const char letter : text) {
        const std::size_t value = alphabet.find(letter);
        if (value == std::string_view::npos) return std::nullopt;
        group = group << 6 | static_cast<std::uint32_t>(value);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        bytes += static_cast<char>(group >> bits & 0xff);
    }
    return bytes;
}

std::string compress(const std::string& plain) {
    uLongf size = ::compressBound(plain.size());
    std::string bytes(size, '\0');
    // Fails only without memory, or with too little room.
    ::compress(reinterpret_cast<Bytef*>(bytes.data()), &size,
               reinterpret_cast<const Bytef*>(plain.data()), plain.size());
    bytes.resize(size);
    return bytes;
}

std::optional<std::string> uncompress(std::string_view bytes) {
    std::string plain(plain_bytes_limit, '\0');
    uLongf size = plain.size();
    const int status = ::uncompress(reinterpret_cast<Bytef*>(plain.data()), &size,
                                    reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    if (status != Z_OK) return std::nullopt;
    plain.resize(size);
    return plain;
}

std::optional<Histogram> read_counts(NumberReader reader) {
    Histogram histogram;
    std::size_t bucket = 0;
    while (!reader.bytes.empty()) {
        const std::int64_t count = reader.zig_zag();
        const std::size_t left = Histogram::bucket_count - bucket;
        const std::uint64_t skipped = count < 0 ? ~static_cast<std::uint64_t>(count) + 1 : 1;
        if (reader.failed || skipped > left) return std::nullopt;
        if (count > 0) histogram.add_to_bucket(bucket, static_cast<std::uint64_t>(count));
        bucket += skipped;
    }
    return histogram;
}

} // namespace

std::string encode(const Histogram& histogram) {
    auto counts = histogram.counts();
    while (!counts.empty() && counts.back() == 0) counts = counts.first(counts.size() - 1);
    std::string payload;
    for (std::size_t i = 0; i < counts.size();) {
        const auto end = std::find_if(counts.begin() + static_cast<std::ptrdiff_t>(i), counts.end(),
                                      [](std::uint64_t count) { return count > 0; });
        const auto zeros = static_cast<std::size_t>(end - counts.begin()) - i;
        put_zig_zag(payload, zeros > 1 ? -static_cast<std::int64_t>(zeros)
                                       : static_cast<std::int64_t>(counts[i]));
        i += std::max<std::size_t>(zeros, 1);
    }
    std::string plain;
    put(plain, plain_cookie);
    put(plain, static_cast<std::uint32_t>(payload.size()));
    put(plain, std::uint32_t{0}); // no bucket is moved
    put(plain, std::uint32_t{Histogram::significant_digits});
    put(plain, std::uint64_t{1}); // the smallest difference that is seen
    put(plain, Histogram::largest_value);
    put(plain, std::bit_cast<std::uint64_t>(1.0)); // a count of 1 is one sample
    plain += payload;

    const std::string compressed = compress(plain);
    std::string bytes;
    put(bytes, compressed_cookie);
    put(bytes, static_cast<std::uint32_t>(compressed.size()));
    return to_base64(bytes + compressed);
}

std::optional<Histogram> decode_histogram(std::string_view text) {
    const auto bytes = from_base64(text);
    if (!bytes) return std::nullopt;
    NumberReader outer{*bytes};
    const auto cookie = outer.number<std::uint32_t>();
    const auto size = outer.number<std::uint32_t>();
    if (cookie != compressed_cookie || size != outer.bytes.size()) return std::nullopt;
    const auto plain = uncompress(outer.bytes);
    if (!plain) return std::nullopt;

    NumberReader reader{*plain};
    const bool is_ours = reader.number<std::uint32_t>() == plain_cookie &&
                         reader.number<std::uint32_t>() == plain->size() - header_bytes &&
                         reader.number<std::uint32_t>() == 0 &&
                         reader.number<std::uint32_t>() == Histogram::significant_digits &&
                         reader.number<std::uint64_t>() == 1;
    reader.number<std::uint64_t>(); // counts beyond our last bucket are refused below
    const bool is_whole =
        reader.number<std::uint64_t>() == std::bit_cast<std::uint64_t>(1.0) && !reader.failed;
    if (!is_ours || !is_whole) return std::nullopt;
    return read_counts(reader);
}
