#include "memory_use.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace {

// The number of KiB in the line `NAME:   1234 kB`, in bytes.
std::optional<std::uint64_t> find_kib(const std::string& path, const std::string& name) {
    std::FILE* file = std::fopen(path.c_str(), "r");
    if (file == nullptr) return std::nullopt;
    std::optional<std::uint64_t> found;
    std::array<char, 256> line;
    while (!found && std::fgets(line.data(), line.size(), file) != nullptr) {
        const std::string_view text(line.data());
        if (!text.starts_with(name + ":")) continue;
        found = std::strtoull(line.data() + name.size() + 1, nullptr, 10) * 1024;
    }
    const int failure = std::ferror(file) != 0 ? errno : ENODATA;
    std::fclose(file);
    if (!found) errno = failure;
    return found;
}

} // namespace

std::optional<std::uint64_t> resident_bytes(pid_t process) {
    return find_kib(fmt::format("/proc/{}/smaps_rollup", process), "Rss");
}

std::optional<std::uint64_t> kernel_object_bytes() { return find_kib("/proc/meminfo", "Slab"); }
