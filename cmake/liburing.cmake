# liburing has no CMake package: pkg-config knows it. One that is downloaded stays in the build tree;
# then there is nothing to install (install.cmake).

if(NOT TARGET ringlet_liburing)
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
        pkg_check_modules(LIBURING QUIET IMPORTED_TARGET liburing>=2.3)
    endif()
    add_library(ringlet_liburing INTERFACE)
    add_library(ringlet::liburing ALIAS ringlet_liburing)
    if(TARGET PkgConfig::LIBURING)
        target_link_libraries(ringlet_liburing INTERFACE PkgConfig::LIBURING)
    elseif(RINGLET_FETCH)
        # Built with its own configure and make, into the build tree.
        include(ExternalProject)
        set(prefix ${CMAKE_BINARY_DIR}/liburing)
        ExternalProject_Add(liburing_build
            GIT_REPOSITORY https://github.com/axboe/liburing.git GIT_TAG liburing-2.5
            GIT_SHALLOW ON BUILD_IN_SOURCE ON PREFIX ${prefix}
            CONFIGURE_COMMAND ./configure --prefix=${prefix}
            BUILD_COMMAND make -C src INSTALL_COMMAND make -C src install
            BUILD_BYPRODUCTS ${prefix}/lib/liburing.a)
        file(MAKE_DIRECTORY ${prefix}/include)
        add_dependencies(ringlet_liburing liburing_build)
        target_include_directories(ringlet_liburing INTERFACE $<BUILD_INTERFACE:${prefix}/include>)
        target_link_libraries(ringlet_liburing INTERFACE $<BUILD_INTERFACE:${prefix}/lib/liburing.a>)
    else()
        message(FATAL_ERROR "liburing 2.3 or newer was not found: install it (Debian: liburing-dev "
            "and pkg-config), or allow a download with -DRINGLET_FETCH=ON")
    endif()
endif()
