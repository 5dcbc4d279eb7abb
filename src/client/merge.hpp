#pragma once

/// `echo_bench merge FILE...`: adds up the results of clients that loaded a server at the same time.
/// Returns the exit status.
int merge_results(int argc, char** argv);
