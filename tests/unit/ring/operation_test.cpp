#include "death.hpp"

#include <ringlet/detail/operation.hpp>

#include <array>
#include <cerrno>
#include <set>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

constexpr std::array every_opcode = {Opcode::accept,  Opcode::connect,      Opcode::poll,
                                     Opcode::recv,    Opcode::send,         Opcode::read,
                                     Opcode::write,   Opcode::send_message, Opcode::recv_message,
                                     Opcode::read_at, Opcode::write_at,     Opcode::send_zero_copy};
constexpr std::array moving_opcodes = {Opcode::recv,    Opcode::send,         Opcode::read,
                                       Opcode::write,   Opcode::send_message, Opcode::recv_message,
                                       Opcode::read_at, Opcode::write_at};

// An operation in flight on ten bytes.
struct InFlight {
    explicit InFlight(Opcode opcode, Operation::Extent extent) {
        operation.configure(opcode, 3, bytes.data(), bytes.size(), extent);
        operation.state = Operation::State::in_flight;
    }
    std::array<std::byte, 10> bytes{};
    Operation operation;
};

} // namespace

TEST_CASE("Operation opcodes have names that differ") {
    std::set<std::string> names;
    for (const Opcode opcode : every_opcode) {
        const std::string name = to_string(opcode);
        CHECK(name.size() > 1);
        CHECK(names.insert(name).second);
    }
    CHECK(names.count("recv") == 1);
}

TEST_CASE("Operation configure describes the request and clears the last one") {
    std::array<std::byte, 10> bytes{};
    Operation operation;
    operation.result = -5;
    operation.transferred_bytes = 4;
    operation.cancel_requested = true;
    operation.cancel_errno = ETIMEDOUT;
    operation.extent = Operation::Extent::whole;
    operation.configure(Opcode::send, 7, bytes.data(), bytes.size());
    CHECK(operation.opcode == Opcode::send);
    CHECK(operation.descriptor == Descriptor(7));
    CHECK(operation.extent == Operation::Extent::some);
    CHECK(operation.state == Operation::State::idle);
    CHECK(operation.result == 0);
    CHECK(operation.transferred_bytes == 0);
    CHECK_FALSE(operation.cancel_requested);
    CHECK(operation.cancel_errno == 0);
    CHECK(operation.rest() == bytes.data());
    CHECK(operation.rest_bytes() == 10);
}

TEST_CASE("Operation configure aborts while the last request is in flight or unread") {
    for (const auto state : {Operation::State::in_flight, Operation::State::finished}) {
        testing::check_aborts("while the last one of its kind on the same socket", [state] {
            Operation operation;
            operation.state = state;
            operation.configure(Opcode::recv, 3, nullptr, 0);
        });
    }
}

TEST_CASE("Operation can be configured again once its result was consumed") {
    InFlight request(Opcode::recv, Operation::Extent::some);
    const bool finished = request.operation.finish(3);
    REQUIRE(finished);
    request.operation.consume();
    request.operation.configure(Opcode::recv, 3, request.bytes.data(), 5);
    CHECK(request.operation.rest_bytes() == 5);
}

TEST_CASE("Operation finishes with some bytes when some are enough") {
    for (const Opcode opcode : moving_opcodes) {
        InFlight request(opcode, Operation::Extent::some);
        const bool finished = request.operation.finish(3);
        CHECK(finished);
        CHECK(request.operation.state == Operation::State::finished);
        CHECK(request.operation.result == 3);
        CHECK(request.operation.transferred_bytes == 3);
    }
}

TEST_CASE("Operation continues after a short transfer when the whole was requested") {
    for (const Opcode opcode : moving_opcodes) {
        InFlight request(opcode, Operation::Extent::whole);
        Operation& operation = request.operation;
        bool finished = operation.finish(3);
        CHECK_FALSE(finished);
        CHECK(operation.state == Operation::State::in_flight);
        CHECK(operation.rest() == request.bytes.data() + 3);
        CHECK(operation.rest_bytes() == 7);

        finished = operation.finish(6);
        CHECK_FALSE(finished);
        CHECK(operation.rest_bytes() == 1);

        finished = operation.finish(1);
        CHECK(finished);
        CHECK(operation.state == Operation::State::finished);
        CHECK(operation.transferred_bytes == 10);
        CHECK(operation.result == 1);
    }
}

TEST_CASE("Operation ends a whole transfer at the end of the stream or at an error") {
    InFlight ended(Opcode::recv, Operation::Extent::whole);
    bool finished = ended.operation.finish(4);
    CHECK_FALSE(finished);
    finished = ended.operation.finish(0);
    CHECK(finished);
    CHECK(ended.operation.result == 0);
    CHECK(ended.operation.transferred_bytes == 4);

    InFlight reset(Opcode::send, Operation::Extent::whole);
    finished = reset.operation.finish(4);
    CHECK_FALSE(finished);
    finished = reset.operation.finish(-ECONNRESET);
    CHECK(finished);
    CHECK(reset.operation.result == -ECONNRESET);
    CHECK(reset.operation.transferred_bytes == 4);
}

TEST_CASE("Operation restarts after EINTR and EAGAIN") {
    for (const Opcode opcode : every_opcode) {
        for (const int error : {EINTR, EAGAIN}) {
            // For the connect of a Unix socket this means a full backlog.
            if (opcode == Opcode::connect && error == EAGAIN) continue;
            for (const auto extent : {Operation::Extent::some, Operation::Extent::whole}) {
                InFlight request(opcode, extent);
                const bool finished = request.operation.finish(-error);
                CHECK_FALSE(finished);
                CHECK(request.operation.state == Operation::State::in_flight);
                CHECK(request.operation.transferred_bytes == 0);
            }
        }
    }
}

TEST_CASE("Operation finishes with every other error at once") {
    for (const Opcode opcode : every_opcode) {
        for (const int error : {ECONNRESET, EPIPE, EMFILE, ECANCELED, EINVAL}) {
            InFlight request(opcode, Operation::Extent::whole);
            const bool finished = request.operation.finish(-error);
            CHECK(finished);
            CHECK(request.operation.result == -error);
        }
    }
}

TEST_CASE("Operation that returns a descriptor counts no bytes") {
    for (const Opcode opcode : {Opcode::accept, Opcode::connect}) {
        InFlight request(opcode, Operation::Extent::some);
        const bool finished = request.operation.finish(5);
        CHECK(finished);
        CHECK(request.operation.result == 5);
        CHECK(request.operation.transferred_bytes == 0);
    }
}

TEST_CASE("Operation that is cancelled does not restart for its remaining bytes") {
    InFlight short_transfer(Opcode::send, Operation::Extent::whole);
    short_transfer.operation.cancel_requested = true;
    bool finished = short_transfer.operation.finish(4);
    CHECK(finished);
    CHECK(short_transfer.operation.result == -ECANCELED);
    CHECK(short_transfer.operation.transferred_bytes == 4);

    for (const int error : {EINTR, EAGAIN}) {
        InFlight interrupted(Opcode::recv, Operation::Extent::some);
        interrupted.operation.cancel_requested = true;
        finished = interrupted.operation.finish(-error);
        CHECK(finished);
        CHECK(interrupted.operation.result == -ECANCELED);
    }
}

TEST_CASE("Operation that finishes before its cancellation keeps its result") {
    InFlight whole(Opcode::send, Operation::Extent::whole);
    whole.operation.cancel_requested = true;
    whole.operation.cancel_errno = ETIMEDOUT;
    bool finished = whole.operation.finish(10);
    CHECK(finished);
    CHECK(whole.operation.result == 10);

    InFlight some(Opcode::recv, Operation::Extent::some);
    some.operation.cancel_requested = true;
    some.operation.cancel_errno = ETIMEDOUT;
    finished = some.operation.finish(4);
    CHECK(finished);
    CHECK(some.operation.result == 4);

    InFlight accepted(Opcode::accept, Operation::Extent::some);
    accepted.operation.cancel_requested = true;
    finished = accepted.operation.finish(9);
    CHECK(finished);
    CHECK(accepted.operation.result == 9);

    InFlight failed(Opcode::recv, Operation::Extent::some);
    failed.operation.cancel_requested = true;
    failed.operation.cancel_errno = ETIMEDOUT;
    finished = failed.operation.finish(-ECONNRESET);
    CHECK(finished);
    CHECK(failed.operation.result == -ECONNRESET);
}

TEST_CASE("Operation ends with the errno it was cancelled with") {
    for (const std::int32_t answer : {-ECANCELED, -EINTR, 4}) {
        CAPTURE(answer);
        InFlight request(Opcode::send, Operation::Extent::whole);
        request.operation.cancel_requested = true;
        request.operation.cancel_errno = ETIMEDOUT;
        const bool finished = request.operation.finish(answer);
        CHECK(finished);
        CHECK(request.operation.result == -ETIMEDOUT);
    }
}
