#include "scrape.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

namespace {

struct Sample {
    std::string_view name;
    std::vector<std::pair<std::string_view, std::string>> labels;
    double value = 0;

    [[nodiscard]] std::string label(std::string_view wanted) const {
        for (const auto& [own, content] : labels)
            if (own == wanted) return content;
        return {};
    }
};

std::optional<double> number_of(std::string_view text) {
    if (text == "+Inf") return std::numeric_limits<double>::infinity();
    double number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, failure] = std::from_chars(text.data(), end, number);
    if (failure != std::errc{} || rest != end) return std::nullopt;
    return number;
}

// Takes `name="content"` off the front.
bool take_label(std::string_view& rest, Sample& sample) {
    const std::size_t equals = rest.find("=\"");
    if (equals == rest.npos) return false;
    std::string content;
    std::size_t at = equals + 2;
    for (; at < rest.size() && rest[at] != '"'; ++at) {
        if (rest[at] == '\\' && at + 1 < rest.size()) {
            ++at;
            content += rest[at] == 'n' ? '\n' : rest[at];
        } else {
            content += rest[at];
        }
    }
    if (at == rest.size()) return false;
    sample.labels.emplace_back(rest.substr(0, equals), std::move(content));
    rest.remove_prefix(at + 1);
    return true;
}

std::optional<Sample> read_sample(std::string_view line) {
    Sample sample;
    const std::size_t end = line.find_first_of("{ ");
    if (end == line.npos || end == 0) return std::nullopt;
    sample.name = line.substr(0, end);
    line.remove_prefix(end);
    if (line.front() == '{') {
        do {
            line.remove_prefix(1);
            if (!take_label(line, sample) || line.empty()) return std::nullopt;
        } while (line.front() == ',');
        if (line.front() != '}') return std::nullopt;
        line.remove_prefix(1);
    }
    if (line.empty() || line.front() != ' ') return std::nullopt;
    line.remove_prefix(1);
    const auto value = number_of(line.substr(0, line.find(' '))); // a time may follow
    if (!value) return std::nullopt;
    sample.value = *value;
    return sample;
}

void note_of_worker(WorkerNumbers& worker, const Sample& sample) {
    if (sample.name == "ringlet_worker_up") {
        worker.answers = sample.value > 0;
    } else if (sample.name == "ringlet_backend_info") {
        worker.backend = sample.label("backend");
    } else if (sample.name == "ringlet_phase") {
        if (sample.value > 0) worker.phase = sample.label("phase");
    } else if (sample.name.ends_with("_bucket")) {
        const auto bound = number_of(sample.label("le"));
        const bool is_turn = sample.name == "ringlet_turn_duration_seconds_bucket";
        if (!bound || (!is_turn && sample.name != "ringlet_ready_wait_seconds_bucket")) return;
        (is_turn ? worker.turns : worker.waits)
            .buckets.push_back({.bound = *bound, .up_to = sample.value});
    } else {
        worker.numbers[std::string(sample.name)] += sample.value;
    }
}

} // namespace

std::optional<Scrape> read_scrape(std::string_view text) {
    Scrape scrape;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.front() == '#') continue;
        const auto sample = read_sample(line);
        if (!sample) return std::nullopt;
        if (sample->name == "ringlet_build_info") scrape.version = sample->label("version");
        const std::string worker = sample->label("worker");
        unsigned index = 0;
        const char* last = worker.data() + worker.size();
        if (worker.empty() || std::from_chars(worker.data(), last, index).ptr != last) {
            scrape.numbers[std::string(sample->name)] += sample->value;
        } else {
            note_of_worker(scrape.workers[index], *sample);
        }
    }
    if (scrape.version.empty()) return std::nullopt;
    return scrape;
}

std::optional<double> find_number(const Numbers& numbers, std::string_view name) {
    const auto found = numbers.find(name);
    if (found == numbers.end()) return std::nullopt;
    return found->second;
}

Histogram Histogram::since(const Histogram& before) const {
    Histogram between = *this;
    if (before.buckets.size() != buckets.size()) return between;
    for (std::size_t index = 0; index < buckets.size(); ++index)
        between.buckets[index].up_to -= before.buckets[index].up_to;
    return between;
}

void Histogram::add(const Histogram& other) {
    if (buckets.empty())
        buckets = other.buckets;
    else if (buckets.size() == other.buckets.size())
        for (std::size_t index = 0; index < buckets.size(); ++index)
            buckets[index].up_to += other.buckets[index].up_to;
}

std::optional<double> Histogram::quantile(double part) const {
    if (buckets.empty() || buckets.back().up_to <= 0) return std::nullopt;
    const double wanted = part * buckets.back().up_to;
    Bucket before;
    for (const Bucket& bucket : buckets) {
        if (bucket.up_to >= wanted && bucket.up_to > before.up_to) {
            if (std::isinf(bucket.bound)) return before.bound;
            const double inside = (wanted - before.up_to) / (bucket.up_to - before.up_to);
            return before.bound + inside * (bucket.bound - before.bound);
        }
        before = bucket;
    }
    return before.bound;
}
