#include "options.hpp"

#include "backend_option.hpp"
#include "busy_poll_option.hpp"
#include "duration_option.hpp"

#include <cstdint>

using namespace ringlet;

namespace {

// As CLI::Range, whose limits would replace the type in --help.
template <class Number>
CLI::Validator within(Number least, Number most) {
    return CLI::Range(least, most).description("");
}

// CLI::Range accepts nan, which is neither less nor more than anything.
std::string check_rate(const std::string& text) {
    constexpr double most = 1e9;
    double rate = -1;
    const bool is_right = CLI::detail::lexical_cast(text, rate) && rate >= 0 && rate <= most;
    return is_right ? "" : "'" + text + "' is no rate: write a number from 0 to 1000000000";
}

void add_churn(CLI::App& app, LoadOptions& load) {
    auto* echoes = app.get_option("-e");
    const auto read = [&load, echoes](std::int64_t) {
        load.churn = true;
        if (echoes->count() == 0) load.echoes_each = 1;
    };
    app.add_flag_function("--churn", read,
                          "Measure whole connections: each echoes -e times, 1 by default, and is\n"
                          "closed and opened again, for --duration")
        ->needs(app.get_option("--duration"))
        ->excludes(app.get_option("--rate"))
        ->excludes(app.get_option("-c"));
}

void add_hold_options(CLI::App& app, Settings& settings) {
    auto* hold =
        app.add_option("--hold", settings.hold.connections,
                       "Instead of a load: hold so many connections at the same time, "
                       "echo once on each when\n"
                       "it is opened and once when all have been held for --hold-time, and "
                       "say what one costs")
            ->check(within(std::uint64_t{1}, std::uint64_t{10'000'000}))
            ->type_name("N");
    for (const char* of_a_load :
         {"-t", "-c", "-e", "--duration", "--warmup", "--rate", "--pipeline", "--churn",
          "--give-up", "--workers", "--hgrm", "--hlog", "--quiet"}) {
        hold->excludes(app.get_option(of_a_load));
    }
    app.add_option("--sources", settings.sources,
                   "Where the held connections come from; default 127.0.0.0/8 to a server at\n"
                   "127.x.x.x, and the kernel's choice to others")
        ->type_name("CIDR")
        ->needs(hold);
    add_duration(app, "--hold-time", settings.hold.hold_time, std::chrono::milliseconds(0),
                 "How long all are held; default 1s")
        ->needs(hold);
    app.add_option("--server-pid", settings.hold.server_pid,
                   "The server's process: say how much its memory grew for each connection")
        ->check(within(1, 1 << 30))
        ->type_name("N")
        ->needs(hold);
}

void add_tls_options(CLI::App& app, TlsRequest& request) {
    auto* tls = app.add_flag("--tls", request.is_wanted, "Speak TLS with the server");
    auto* authorities = app.add_option("--ca", request.authorities,
                                       "Who may have signed its certificate, instead of those "
                                       "that the system trusts (PEM)");
    authorities->type_name("FILE")->needs(tls);
    app.add_flag("--insecure", request.insecure, "Take any certificate of the server")
        ->needs(tls)
        ->excludes(authorities);
    app.add_option("--sni", request.server_name, "The name to ask for and to verify; default HOST")
        ->type_name("NAME")
        ->needs(tls);
    app.add_option("--alpn", request.protocols, "Application protocols, as h2,http/1.1")
        ->delimiter(',')
        ->type_name("NAMES")
        ->needs(tls);
    app.add_flag("--full-handshakes", request.full_handshakes,
                 "Do not resume what an earlier connection began")
        ->needs(tls);
    auto* certificate = app.add_option("--tls-cert", request.certificate.chain_file,
                                       "A certificate to show to the server (PEM)");
    auto* key = app.add_option("--tls-key", request.certificate.key_file, "Its key (PEM)");
    certificate->type_name("FILE")->needs(tls)->needs(key);
    key->type_name("FILE")->needs(certificate);
}

} // namespace

void add_options(CLI::App& app, Settings& settings) {
    LoadOptions& load = settings.load;
    const CLI::Validator up_to_a_million = within(std::uint64_t{1}, std::uint64_t{1'000'000});
    app.set_version_flag("--version", "echo_bench " RINGLET_VERSION);
    app.add_option("-t", load.coroutines, "Coroutines: connections at the same time")
        ->check(up_to_a_million)
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--workers", settings.workers,
                   "Threads that the coroutines are divided among, where one core is the limit\n"
                   "and not the server. What they measure is one result")
        ->check(within(std::uint64_t{1}, std::uint64_t{1024}))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("-c", load.connections_each, "Connections of each, one after another")
        ->check(up_to_a_million)
        ->type_name("N")
        ->capture_default_str();
    app.add_option("-e", load.echoes_each, "Echoes on each connection")
        ->check(within(std::uint64_t{1}, std::uint64_t{1'000'000'000}))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("-p", settings.port, "Port of the server, if HOST has none")
        ->check(within(1, 65535))
        ->each([&settings](const std::string&) { settings.port_is_given = true; })
        ->type_name("N")
        ->capture_default_str();
    auto* file = app.add_option("-f", settings.message_file,
                                "File that holds the message; it is sent as it is, without numbers")
                     ->type_name("FILE");
    app.add_option("--size", settings.size_bytes, "Or the size of a made-up message, in bytes")
        ->check(within(std::uint64_t{1}, message_bytes_limit))
        ->type_name("N")
        ->capture_default_str()
        ->excludes(file);
    add_duration(app, "--duration", load.duration, std::chrono::milliseconds(1),
                 "Measure for so long (as 500ms, 10s, 2min) instead of -c connections");
    add_duration(app, "--warmup", load.warmup, std::chrono::milliseconds(0),
                 "Load for so long before measuring");
    add_duration(app, "--timeout", load.timeout, std::chrono::milliseconds(1),
                 "A connection on which nothing moved for so long is an error; default 30s");
    app.add_option("--give-up", load.give_up_after,
                   "End the run, with 69, when so many connections of each coroutine in a row\n"
                   "have brought no echo: there is no server any more. 0: go on")
        ->check(within(std::uint64_t{0}, std::uint64_t{1'000'000'000}))
        ->type_name("N")
        ->capture_default_str();
    app.add_option(
           "--rate", load.rate,
           "Open loop: begin so many echoes a second over all coroutines, and count each\n"
           "latency from when the echo was due. With --duration all that was due before its end\n"
           "is sent, until --timeout after it. 0: each as soon as the last has come back")
        ->check(check_rate)
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--pipeline", load.pipeline, "Echoes in flight together on each connection")
        ->check(within(std::uint64_t{1}, std::uint64_t{10'000}))
        ->type_name("N")
        ->capture_default_str();
    add_churn(app, load);
    add_result_files(app, settings.files);
    app.add_flag("--quiet", settings.quiet,
                 "Print nothing but the last line; what makes the result doubtful goes to stderr");
    app.add_flag("--progress,!--no-progress", settings.progress,
                 "Show progress on stderr, if that is a terminal; the default");
    add_hold_options(app, settings);
    add_tls_options(app, settings.tls);
    add_backend(app, settings.loop.backend);
    add_busy_poll(app, settings.loop.busy_poll);
    app.add_option("host", settings.host,
                   "Address or name of the server, also with a port, as localhost:3200 or\n"
                   "[::1]:3200, or unix:/PATH. Of a name with several addresses the first that\n"
                   "answers is loaded")
        ->type_name("HOST")
        ->capture_default_str();
    app.footer(
        "Every coroutine opens -c connections in turn and sends the message -e times on "
        "each, waiting\n"
        "for the whole echo and comparing every byte. A made-up message has its own number and "
        "that of its\n"
        "connection in its first 8 bytes, as far as they fit, and again every 1,024: one that "
        "comes "
        "back in\n"
        "another's place is an error. The last line on stdout is\n"
        "  Throughput: N [reqests/sec], errors: N\n"
        "where errors counts the requests that did not come back whole and right. The exit "
        "status is\n"
        "0 without errors and 1 with; 64 bad option, 66 message file or certificate, 68 unknown "
        "host, 69 "
        "no server or\n"
        "--backend io_uring refused, 73 a result file cannot be written, 130 or 143 interrupted.\n"
        "\n"
        "SIGINT or SIGTERM ends a run early: what was measured until then is reported, marked as\n"
        "interrupted, and written into the result files; then the program ends by the signal, "
        "which a\n"
        "shell tells as 130 or 143. A second signal ends it at once.\n"
        "\n"
        "echo_bench merge A.json B.json ...  adds up what several clients have measured: see "
        "echo_bench merge --help\n"
        "\n"
        "In the place of the classic client, which ran 5 threads whatever -t said:\n"
        "  echo_bench --quiet -t 5 -c 5 -e 1000 -f bench/classic_message.json -p 3200 127.0.0.1\n"
        "\n"
        "--hold starts as many processes as their descriptors are needed for, and exits with 0 "
        "only if all\n"
        "were held and answered both times. The server's memory is Rss in "
        "/proc/PID/smaps_rollup, the\n"
        "kernel's is Slab in /proc/meminfo, which counts both ends when both are on this "
        "machine. What is\n"
        "told is how much they grew, so it takes a server that has just begun (a used one "
        "has memory left\n"
        "over), and says little below 1,000 connections.\n"
        "Try it:  echo_bench --hold 15000 --server-pid PID -p 3200");
}
