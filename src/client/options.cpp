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
    app.add_flag_function(
           "--churn", read,
           "Measure whole connections for --duration: each is opened, echoes -e times (1 by\n"
           "default) and is closed")
        ->needs(app.get_option("--duration"))
        ->excludes(app.get_option("--rate"))
        ->excludes(app.get_option("-c"));
}

void add_hold_options(CLI::App& app, Settings& settings) {
    auto* hold =
        app.add_option(
               "--hold", settings.hold.connections,
               "Instead of a load: hold this many connections at the same time, echo once on each\n"
               "when it is opened and once after all have been held for --hold-time, and print\n"
               "the memory that one takes")
            ->check(within(std::uint64_t{1}, std::uint64_t{10'000'000}))
            ->type_name("N");
    for (const char* of_a_load :
         {"-t", "-c", "-e", "--duration", "--warmup", "--rate", "--pipeline", "--churn",
          "--give-up", "--workers", "--hgrm", "--hlog", "--quiet"}) {
        hold->excludes(app.get_option(of_a_load));
    }
    app.add_option("--sources", settings.sources,
                   "Source addresses of the held connections; default 127.0.0.0/8 for a server at\n"
                   "127.x.x.x, otherwise the kernel's choice")
        ->type_name("CIDR")
        ->needs(hold);
    add_duration(app, "--hold-time", settings.hold.hold_time, std::chrono::milliseconds(0),
                 "How long all are held; default 1s")
        ->needs(hold);
    app.add_option("--server-pid", settings.hold.server_pid,
                   "The server's process: print how much its memory grew for each connection")
        ->check(within(1, 1 << 30))
        ->type_name("N")
        ->needs(hold);
}

void add_tls_options(CLI::App& app, TlsRequest& request) {
    auto* tls = app.add_flag("--tls", request.is_wanted, "Speak TLS with the server");
    auto* authorities = app.add_option("--ca", request.authorities,
                                       "Authorities to trust for its certificate, instead of the "
                                       "system's (PEM)");
    authorities->type_name("FILE")->needs(tls);
    app.add_flag("--insecure", request.insecure, "Accept any certificate of the server")
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
                 "Do not resume sessions of earlier connections")
        ->needs(tls);
    auto* certificate =
        app.add_option("--tls-cert", request.certificate.chain_file, "A client certificate (PEM)");
    auto* key = app.add_option("--tls-key", request.certificate.key_file, "Its private key (PEM)");
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
    app.add_option(
           "--workers", settings.workers,
           "Threads that share the coroutines, for when one core of the client is the limit.\n"
           "Their measurements are one result")
        ->check(within(std::uint64_t{1}, std::uint64_t{1024}))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("-c", load.connections_each, "Connections of each coroutine, one after another")
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
                                "File with the message; it is sent unchanged, without numbers")
                     ->type_name("FILE");
    app.add_option("--size", settings.size_bytes, "Size of a generated message, in bytes")
        ->check(within(std::uint64_t{1}, message_bytes_limit))
        ->type_name("N")
        ->capture_default_str()
        ->excludes(file);
    add_duration(app, "--duration", load.duration, std::chrono::milliseconds(1),
                 "Measure for this long (as 500ms, 10s, 2min) instead of -c connections");
    add_duration(app, "--warmup", load.warmup, std::chrono::milliseconds(0),
                 "Run the load for this long before measuring");
    add_duration(app, "--timeout", load.timeout, std::chrono::milliseconds(1),
                 "A connection that is silent for this long is an error; default 30s");
    app.add_option(
           "--give-up", load.give_up_after,
           "End the run with status 69 after this many connections of each coroutine in a row\n"
           "without an echo: the server has gone. 0: continue")
        ->check(within(std::uint64_t{0}, std::uint64_t{1'000'000'000}))
        ->type_name("N")
        ->capture_default_str();
    app.add_option(
           "--rate", load.rate,
           "Open loop: start this many echoes a second over all coroutines, and measure each\n"
           "latency from when the echo was due. With --duration, echoes due before its end are\n"
           "still sent, for up to --timeout after it. 0: closed loop")
        ->check(check_rate)
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--pipeline", load.pipeline, "Echoes in flight at once on each connection")
        ->check(within(std::uint64_t{1}, std::uint64_t{10'000}))
        ->type_name("N")
        ->capture_default_str();
    add_churn(app, load);
    add_result_files(app, settings.files);
    app.add_flag("--quiet", settings.quiet,
                 "Print the last line only; warnings about the result go to stderr");
    app.add_flag("--progress,!--no-progress", settings.progress,
                 "Show progress on stderr if it is a terminal; the default");
    add_hold_options(app, settings);
    add_tls_options(app, settings.tls);
    add_backend(app, settings.loop.backend);
    add_busy_poll(app, settings.loop.busy_poll);
    app.add_option("host", settings.host,
                   "Address or name of the server, with or without a port, as localhost:3200 or\n"
                   "[::1]:3200, or unix:/PATH. If a name has several addresses, the first that\n"
                   "answers is used")
        ->type_name("HOST")
        ->capture_default_str();
    app.footer(
        R"(Every coroutine opens -c connections in turn and sends the message -e times on each, waiting
for the whole echo and comparing every byte. A generated message has its own number and that of
its connection in its first 8 bytes, as far as they fit, and again every 1,024 bytes, so an echo
that comes back in the place of another one is an error. The last line on stdout is
  Throughput: N [reqests/sec], errors: N
where errors counts the requests whose echo was not complete and correct.

The exit status is 0 without errors and 1 with; 64 bad option, 66 message file or certificate, 68
unknown host, 69 no server or --backend io_uring refused, 73 a result file cannot be written, 130
or 143 interrupted.

SIGINT or SIGTERM ends a run early: the measurement up to then is reported, marked as interrupted,
and written to the result files; then the program ends by the signal, which a shell shows as 130
or 143. A second signal ends it at once.

echo_bench merge A.json B.json ...  adds up the results of several clients: see echo_bench merge --help

In place of the classic client, which ran 5 threads whatever -t said:
  echo_bench --quiet -t 5 -c 5 -e 1000 -f bench/classic_message.json -p 3200 127.0.0.1

--hold starts as many processes as it needs descriptors for, and exits with 0 only if all
connections were held and answered both times. The server's memory is Rss in
/proc/PID/smaps_rollup, the kernel's is Slab in /proc/meminfo, which counts both ends if both are
on this machine. Both numbers are growth, so start the server anew (a used one reuses memory that
it kept), and do not trust them below 1,000 connections.
Try it:  echo_bench --hold 15000 --server-pid PID -p 3200)");
}
