# The warnings of our own builds. They never reach a consumer: targets link this privately. They are errors in
# the presets of those who develop, and never for somebody who builds a release or a package.
add_library(ringlet_warnings INTERFACE)
target_compile_options(ringlet_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Wold-style-cast -Woverloaded-virtual -Wno-missing-field-initializers)
if(CMAKE_UNITY_BUILD) # what these say of one source is said of another one's names
    target_compile_options(ringlet_warnings INTERFACE
        $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage> $<$<NOT:$<CXX_COMPILER_ID:GNU>>:-Wno-shadow>)
endif()
# With LTO g++ 12 compares the frames of coroutines in different files by the numbers that it gives to their temporaries
# (https://gcc.gnu.org/PR101118).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_link_options(ringlet_warnings INTERFACE -Wno-odr)
endif()
if(RINGLET_WERROR)
    target_compile_options(ringlet_warnings INTERFACE -Werror)
endif()
