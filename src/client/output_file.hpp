#pragma once

// A file that is written when the work is done, and opened before it begins: a measurement of ten minutes
// is not lost to a wrong path.

#include <ringlet/unique_fd.hpp>

#include <string>
#include <string_view>

class OutputFile {
public:
    OutputFile() = default;
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;
    /// Removes a file that `open` made and that never got its content.
    ~OutputFile();

    /// Opens the file, or makes it. What it holds stays until `write`. `-` is stdout; all that is printed there
    /// goes to stderr from then on. Returns false, with errno set, if that fails.
    bool open(const std::string& path);

    /// Whether writing here would overwrite what is written there.
    [[nodiscard]] bool is_same_as(const OutputFile& other) const;
    [[nodiscard]] bool is_same_as(int fd) const;

    /// Makes the text its content, once. Returns false, with errno set, if that fails; the file is then
    /// empty.
    bool write(std::string_view text);

    [[nodiscard]] bool is_open() const { return fd_.get() >= 0; }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
    ringlet::UniqueFd fd_;
    bool is_stdout_ = false;
    bool is_ours_ = false; // it did not exist before, so its content may go
};
