#include "environment.hpp"

#include "build_flags.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

using Json = nlohmann::ordered_json;

namespace {

// The first line of a file, or the text after `name` and a colon in a file of many lines.
Json line_of(const std::string& path, const std::string& name = "") {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (name.empty()) return line;
        if (!line.starts_with(name)) continue;
        const auto colon = line.find(':', name.size());
        const auto value = line.find_first_not_of(" \t", colon + 1);
        if (colon != std::string::npos && value != std::string::npos) return line.substr(value);
    }
    return nullptr;
}

Json mitigations() {
    Json all = Json::object();
    std::error_code failure;
    const auto* folder = "/sys/devices/system/cpu/vulnerabilities";
    for (const auto& entry : std::filesystem::directory_iterator(folder, failure)) {
        all[entry.path().filename().string()] = line_of(entry.path());
    }
    return all;
}

Json cpus_allowed() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return nullptr;
    return CPU_COUNT(&allowed);
}

} // namespace

Json describe_machine() {
    utsname kernel{};
    ::uname(&kernel);
    return {{"name", kernel.nodename},
            {"cpu", line_of("/proc/cpuinfo", "model name")},
            {"cpus_online", ::sysconf(_SC_NPROCESSORS_ONLN)},
            {"cpus_allowed", cpus_allowed()},
            {"memory_bytes", ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE)},
            {"architecture", kernel.machine},
            {"kernel", fmt::format("{} {} {}", kernel.sysname, kernel.release, kernel.version)},
            {"mitigations", mitigations()},
            {"congestion_control", line_of("/proc/sys/net/ipv4/tcp_congestion_control")}};
}

Json describe_build() { return {{"compiler", compiler}, {"flags", compiler_flags}}; }
