#pragma once

#include <ringlet/byte_stream.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/task_group.hpp>

#include <cstdint>

namespace RINGLET_EXPORT ringlet {

/// How many bytes went each way.
struct CopiedBytes {
    std::uint64_t forth = 0; ///< from the first stream to the second
    std::uint64_t back = 0;
};

/// Copies bytes from a source to a sink until the source ends.
///
/// Lifetime  Both outlive the await.
/// Cancel    Ends with `operation_canceled`; a buffer that was received but not sent is lost.
/// Returns   `Result<void>`: the source has ended, and the sink has everything. `copied_bytes` counts in any case.
/// Errors    The first error of either.
template <ByteSource Source, ByteSink Sink>
Task<Result<void>> copy_bytes(Source& from, Sink& to, std::uint64_t& copied_bytes) {
    for (;;) {
        auto chunk = co_await from.recv();
        if (!chunk) co_return chunk.error();
        if (chunk->empty()) co_return Result<void>();

        const std::span<const std::byte> bytes(chunk->data(), chunk->size());
        auto sent = co_await to.send_all(bytes);
        if (!sent) co_return sent;
        copied_bytes += bytes.size();
    }
}

/// Forwards between two connections until both sides have finished. When one side finishes, the end of its
/// stream is passed on (`shutdown_write`) and the other direction continues. An error ends both directions.
///
/// Lifetime  The streams outlive the await. Neither is closed.
/// Returns   `Result<CopiedBytes>`.
/// Errors    The first error of either stream.
/// Cost      Two tasks. One buffer per direction while bytes are on their way; none while it is idle.
template <ByteStream First, ByteStream Second>
Task<Result<CopiedBytes>> copy_both_ways(First& first, Second& second) {
    CopiedBytes copied;
    auto one_way = [](auto* from, auto* to, std::uint64_t* count) -> Task<Result<void>> {
        auto done = co_await copy_bytes(*from, *to, *count);
        if (!done) co_return done;
        auto told = to->shutdown_write();
        if (told.error() == std::errc::not_connected)
            told = {}; // the peer has sent everything and has gone
        co_return told;
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn("forth", one_way, &first, &second, &copied.forth);
        group.spawn("back", one_way, &second, &first, &copied.back);
        co_return;
    };
    auto done = co_await with_task_group(both);
    if (!done) co_return done.error();
    co_return copied;
}

} // namespace ringlet
