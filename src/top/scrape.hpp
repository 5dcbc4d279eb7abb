#pragma once

// One answer of /metrics as numbers: of the server, and of each worker. It ignores unknown metrics, so that it reads
// the answers of older and newer servers.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Buckets as received: the count of values not above each bound, in seconds.
struct Histogram {
    struct Bucket {
        double bound = 0; // the last may be infinity
        double up_to = 0;
    };
    std::vector<Bucket> buckets;

    /// What was counted since an earlier histogram with the same bounds.
    [[nodiscard]] Histogram since(const Histogram& before) const;
    void add(const Histogram& other);
    /// The value below which that part of all lies, if spread evenly in its bucket. Nothing if nothing was counted.
    [[nodiscard]] std::optional<double> quantile(double part) const;
};

using Numbers = std::map<std::string, double, std::less<>>;

struct WorkerNumbers {
    bool answers = true;
    std::string backend;
    std::string phase;
    Numbers numbers; // by name; those that differ in a label are added
    Histogram turns;
    Histogram waits;
};

struct Scrape {
    std::string version;
    Numbers numbers;
    std::map<unsigned, WorkerNumbers> workers;
};

/// Nothing if these are not the metrics of a ringlet server.
[[nodiscard]] std::optional<Scrape> read_scrape(std::string_view text);

/// Nothing if it is missing.
[[nodiscard]] std::optional<double> find_number(const Numbers& numbers, std::string_view name);
