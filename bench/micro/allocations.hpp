#pragma once

/// Calls of operator new that a server makes, after its first connections.
struct Allocations {
    double per_message = 0;
    double per_connection = 0;
};

/// Replaces operator new for this program, and counts over a real server.
Allocations count_allocations();
