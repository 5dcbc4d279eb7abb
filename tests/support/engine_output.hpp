#pragma once

#include <ringlet/detail/tls_engine.hpp>

#include <array>
#include <cstddef>
#include <vector>

namespace ringlet::testing {

/// Takes the engine's output for the wire.
inline std::vector<std::byte> take_output(TlsEngine& engine) {
    std::vector<std::byte> bytes;
    while (!engine.output().empty()) {
        std::array<Piece, 8> room;
        for (const Piece& piece : engine.output().pieces(room)) {
            bytes.insert(bytes.end(), piece.bytes().begin(), piece.bytes().end());
            engine.output().skip(piece.size());
        }
    }
    return bytes;
}

} // namespace ringlet::testing
