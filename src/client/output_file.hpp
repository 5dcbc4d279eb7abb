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
    /// A file that was made by `open`, and never got its content, goes.
    ~OutputFile();

    /// Opens the file, or makes it. What it holds stays until `write`. `-` is stdout; all that is printed there
    /// goes to stderr from then on. Returns false, with errno set, if that fails.
    bool open(const std::string& path);

    /// Whether what is written here would be written over what goes there.
    [[nodiscard]] bool is_same_as(const OutputFile& other) const;
    [[nodiscard]] bool is_same_as(int fd) const;

    /// Makes the text its content, once. Returns false, with errno set, if that fails; nothing of it is
    /// left in the file then.
    bool write(std::string_view text);

    [[nodiscard]] bool is_open() const { return fd_.get() >= 0; }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
    ringlet::UniqueFd fd_;
    bool is_stdout_ = false;
    bool is_ours_ = false; // nobody needs what is in it: it was not there before
};
