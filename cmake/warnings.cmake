# The warnings of our own builds. They never reach a consumer: targets link this privately, and only
# as errors where ringlet is the top-level project.
add_library(ringlet_warnings INTERFACE)
target_compile_options(ringlet_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Wold-style-cast -Woverloaded-virtual -Wno-missing-field-initializers)
