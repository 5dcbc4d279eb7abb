#include "read_file.hpp"

#include <array>
#include <cerrno>
#include <cstdio>

bool read_file(const std::string& path, std::size_t limit_bytes, std::string& text) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) return false;
    std::array<char, 65'536> piece;
    while (const std::size_t size = std::fread(piece.data(), 1, piece.size(), file)) {
        text.append(piece.data(), size);
        if (text.size() > limit_bytes) break;
    }
    const int failure = std::ferror(file) != 0 ? errno : 0;
    std::fclose(file);
    errno = failure;
    return failure == 0;
}
