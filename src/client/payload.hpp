#pragma once

// What one connection sends and has to get back. Every message tells which it is, so that an echo that
// comes back in another's place, or on another connection, is found, and where it does not belong.

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
    /// Room for so many messages that are under way together. What is `numbered` has the numbers of the
    /// connection and of the message over its beginning, and again after every 1,024 bytes, as far as
    /// they fit; what is not, as what a user wants to be sent, is sent as it is.
    Payload(std::span<const std::byte> message, std::uint64_t in_flight, bool numbered);

    /// The next messages are these of that connection.
    void prepare(std::uint64_t connection, std::uint64_t first_message, std::uint64_t count);

    [[nodiscard]] std::span<const std::byte> request() const { return {sent_.data(), used_bytes_}; }
    [[nodiscard]] std::span<std::byte> reply() { return {received_.data(), used_bytes_}; }

    /// Where the reply first differs from the request, in words, and what it is instead, if it can be
    /// told.
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
