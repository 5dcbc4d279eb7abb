#pragma once

// What one connection sends and must get back. Every message is numbered, so that an echo in the wrong
// place, or on the wrong connection, is detected and identified.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

/// A made-up message: letters and digits in an order that nothing repeats, so that an echo that is moved
/// differs whatever the distance.
std::vector<std::byte> make_message(std::size_t size_bytes);

class Payload {
public:
    /// Room for `in_flight` messages at the same time. A `numbered` message has the numbers of the
    /// connection and of the message over its beginning, and again every 1,024 bytes, as far as they
    /// fit; any other, such as a user's own, is sent as it is.
    Payload(std::span<const std::byte> message, std::uint64_t in_flight, bool numbered);

    /// Prepares the next messages of this connection.
    void prepare(std::uint64_t connection, std::uint64_t first_message, std::uint64_t count);

    [[nodiscard]] std::span<const std::byte> request() const { return {sent_.data(), used_bytes_}; }
    [[nodiscard]] std::span<std::byte> reply() { return {received_.data(), used_bytes_}; }

    /// Where the reply first differs from the request, in words, and what it is instead, if that is
    /// known.
    [[nodiscard]] std::string describe_difference() const;

private:
    void number(std::size_t message_begin, std::uint64_t message);

    std::size_t message_bytes_;
    bool numbered_;
    std::uint64_t connection_ = 0;
    std::uint64_t first_message_ = 0;
    std::size_t used_bytes_ = 0;
    std::vector<std::byte> sent_;
    std::vector<std::byte> received_;
};
