#pragma once

// An operation with its own bytes, for tests of rings and of the simulated network.

#include <ringlet/detail/operation.hpp>
#include <ringlet/detail/ring.hpp>
#include <ringlet/endpoint.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace ringlet::testing {

struct Request {
    explicit Request(std::size_t size_bytes = 64) : bytes(size_bytes) {}
    explicit Request(std::string_view text) : bytes(text.begin(), text.end()) {}

    /// Configures the operation without starting it.
    Operation& configure(Opcode opcode, int fd) {
        operation.state = Operation::State::idle;
        operation.configure(opcode, fd, bytes.data(), bytes.size());
        operation.state = Operation::State::in_flight;
        return operation;
    }
    Operation& configure_connect(int fd, const Endpoint& to) {
        address = to;
        operation.state = Operation::State::idle;
        operation.configure(Opcode::connect, fd, const_cast<sockaddr*>(address.data()),
                            address.size_bytes());
        operation.state = Operation::State::in_flight;
        return operation;
    }
    /// Configures and starts it.
    void start(Ring& ring, Opcode opcode, int fd) { ring.start(configure(opcode, fd)); }
    void start(Ring& ring, Opcode opcode, int fd, std::size_t size_bytes) {
        bytes.resize(size_bytes);
        start(ring, opcode, fd);
    }
    [[nodiscard]] std::string first(int count) const {
        return {bytes.data(), static_cast<std::size_t>(count)};
    }

    std::vector<char> bytes;
    Endpoint address;
    Operation operation;
};

} // namespace ringlet::testing
