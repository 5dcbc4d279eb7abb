#include "payload.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

namespace {

// An echo that is moved by less than a message is detected at the next number at the latest.
constexpr std::size_t numbers_every_bytes = 1'024;

/// Both numbers, a byte of each in turn, the lowest first: whatever the size of the message, the bytes
/// that change most are in it.
using Numbers = std::array<std::byte, 8>;

Numbers pack(std::uint64_t connection, std::uint64_t message) {
    Numbers bytes;
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        bytes[i] = static_cast<std::byte>(message >> 4 * i);
        bytes[i + 1] = static_cast<std::byte>(connection >> 4 * i);
    }
    return bytes;
}

struct Origin {
    std::uint64_t connection = 0;
    std::uint64_t message = 0;
};

Origin unpack(std::span<const std::byte> bytes) {
    Origin origin;
    for (std::size_t i = 0; i < sizeof(Numbers); i += 2) {
        origin.message |= std::to_integer<std::uint64_t>(bytes[i]) << 4 * i;
        origin.connection |= std::to_integer<std::uint64_t>(bytes[i + 1]) << 4 * i;
    }
    return origin;
}

} // namespace

std::vector<std::byte> make_message(std::size_t size_bytes) {
    std::vector<std::byte> message(size_bytes);
    std::uint64_t state = 1;
    for (std::byte& byte : message) {
        state = state * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407; // Knuth's, 64 bits
        byte = static_cast<std::byte>('!' + (state >> 33) % ('~' - '!' + 1));
    }
    return message;
}

Payload::Payload(std::span<const std::byte> message, std::uint64_t in_flight, bool numbered)
    : message_bytes_(message.size()), numbered_(numbered), received_(message.size() * in_flight) {
    sent_.reserve(received_.size());
    for (std::uint64_t i = 0; i < in_flight; ++i) {
        sent_.insert(sent_.end(), message.begin(), message.end());
    }
}

void Payload::prepare(std::uint64_t connection, std::uint64_t first_message, std::uint64_t count) {
    connection_ = connection;
    first_message_ = first_message;
    used_bytes_ = message_bytes_ * count;
    if (!numbered_) return;
    for (std::uint64_t i = 0; i < count; ++i) number(message_bytes_ * i, first_message + i);
}

void Payload::number(std::size_t message_begin, std::uint64_t message) {
    const Numbers numbers = pack(connection_, message);
    for (std::size_t i = 0; i < message_bytes_; i += numbers_every_bytes) {
        const std::size_t room = std::min(numbers.size(), message_bytes_ - i);
        std::memcpy(sent_.data() + message_begin + i, numbers.data(), room);
    }
}

std::string Payload::describe_difference() const {
    const auto sent = request();
    const auto different = std::mismatch(sent.begin(), sent.end(), received_.begin());
    const auto at = static_cast<std::size_t>(different.first - sent.begin());
    if (at == sent.size()) return "no byte differs";
    const std::size_t begin = at / message_bytes_ * message_bytes_;
    std::string text = fmt::format(
        "connection {}, message {}, byte {} of {}: expected 0x{:02x}, got 0x{:02x}", connection_,
        first_message_ + at / message_bytes_, at - begin + 1, message_bytes_,
        std::to_integer<unsigned>(sent[at]), std::to_integer<unsigned>(received_[at]));

    // It may be another message, whole or from here on.
    const std::size_t piece = begin + (at - begin) / numbers_every_bytes * numbers_every_bytes;
    const std::size_t end = std::min(piece + numbers_every_bytes, begin + message_bytes_);
    if (!numbered_ || end - piece <= sizeof(Numbers)) return text;
    const std::size_t rest = piece + sizeof(Numbers);
    if (std::memcmp(sent.data() + rest, received_.data() + rest, end - rest) == 0) {
        const Origin origin = unpack(std::span(received_).subspan(piece));
        text += fmt::format(" (it says that it is message {} of connection {})", origin.message,
                            origin.connection);
    }
    return text;
}
