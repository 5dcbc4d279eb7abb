#pragma once

// What a TlsStream's receive asks its engine, and where the answer goes. Nothing: the engine needs more input.

#include <ringlet/buffer.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/tls_engine.hpp>
#include <ringlet/error.hpp>
#include <ringlet/result.hpp>

#include <cstddef>
#include <optional>
#include <span>

namespace RINGLET_EXPORT ringlet {

/// Reads into a buffer from the pool.
struct TlsIntoBuffer {
    using Given = Result<Buffer>;
    std::optional<Given> operator()(TlsEngine& engine, std::size_t& received_bytes) {
        std::byte* memory = Buffer::borrow();
        std::size_t size_bytes = 0;
        const auto status = engine.read({memory, Buffer::capacity_bytes}, size_bytes);
        received_bytes = size_bytes;
        if (status == TlsEngine::Status::done) return Buffer(memory, size_bytes);
        Buffer::give_back(memory);
        if (status == TlsEngine::Status::ended) return Buffer();
        if (status == TlsEngine::Status::failed) return engine.error();
        return std::nullopt;
    }
};
/// Reads what is there into the caller's memory.
struct TlsIntoMemory {
    using Given = Result<std::size_t>;
    std::span<std::byte> memory;
    std::optional<Given> operator()(TlsEngine& engine, std::size_t& received_bytes) {
        std::size_t size_bytes = 0;
        const auto status = engine.read(memory, size_bytes);
        received_bytes = size_bytes;
        if (status == TlsEngine::Status::done || status == TlsEngine::Status::ended)
            return size_bytes;
        if (status == TlsEngine::Status::failed) return engine.error();
        return std::nullopt;
    }
};
/// Fills all of the caller's memory.
struct TlsIntoAllOfMemory {
    using Given = Result<void>;
    std::span<std::byte> memory;
    std::optional<Given> operator()(TlsEngine& engine, std::size_t& received_bytes) {
        auto status = TlsEngine::Status::done;
        while (received_bytes < memory.size() && status == TlsEngine::Status::done) {
            std::size_t size_bytes = 0;
            status = engine.read(memory.subspan(received_bytes), size_bytes);
            received_bytes += size_bytes;
        }
        if (received_bytes == memory.size()) return Result<void>();
        if (status == TlsEngine::Status::ended) {
            if (received_bytes == 0) return Errc::end_of_stream;
            return Errc::message_truncated;
        }
        if (status == TlsEngine::Status::failed) return engine.error();
        return std::nullopt;
    }
};

} // namespace ringlet
