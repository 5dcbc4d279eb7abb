# What `cmake --install` puts where: the libraries, their headers, the CMake package, the pkg-config files
# and the programs. A static library leaves liburing to whoever links it; both package files name it.

if(NOT TARGET PkgConfig::LIBURING)
    message(STATUS "ringlet: no install rules, because liburing is a downloaded one that only "
        "this build tree has")
    return()
endif()

include(CMakePackageConfigHelpers)

set(ringlet_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ringlet)
set(ringlet_pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# Before 1.0 a minor version may change the interface.
set_target_properties(ringlet PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
install(TARGETS ringlet EXPORT ringlet-targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/runtime/include/ringlet
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${PROJECT_SOURCE_DIR}/share/gdb/ringlet_gdb.py DESTINATION ${CMAKE_INSTALL_DATADIR}/ringlet/gdb)

# ---- find_package(ringlet) -----------------------------------------------------------------------
get_target_property(ringlet_type ringlet TYPE)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/ringlet-config.cmake.in
    ${PROJECT_BINARY_DIR}/package/ringlet-config.cmake INSTALL_DESTINATION ${ringlet_cmake_dir}
    NO_SET_AND_CHECK_MACRO)
configure_file(${PROJECT_SOURCE_DIR}/cmake/ringlet-config-version.cmake.in
    ${PROJECT_BINARY_DIR}/package/ringlet-config-version.cmake @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/ringlet-config.cmake
    ${PROJECT_BINARY_DIR}/package/ringlet-config-version.cmake DESTINATION ${ringlet_cmake_dir})
install(EXPORT ringlet-targets NAMESPACE ringlet:: DESTINATION ${ringlet_cmake_dir})

# ---- pkg-config ----------------------------------------------------------------------------------
# Paths start at the file itself where they can, so that an installed tree can be moved.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(ringlet_pc_prefix ${CMAKE_INSTALL_PREFIX})
    set(ringlet_pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
    set(ringlet_pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
    file(RELATIVE_PATH ringlet_pc_prefix /prefix/${ringlet_pkgconfig_dir} /prefix)
    set(ringlet_pc_prefix "\${pcfiledir}/${ringlet_pc_prefix}")
    string(REGEX REPLACE "/$" "" ringlet_pc_prefix ${ringlet_pc_prefix})
    set(ringlet_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(ringlet_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
# A shared library brings liburing with it; with a static one every program must name it.
if(ringlet_type STREQUAL "STATIC_LIBRARY")
    set(ringlet_pc_requires "Requires: liburing >= 2.3")
else()
    set(ringlet_pc_requires "Requires.private: liburing >= 2.3")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/ringlet.pc.in ${PROJECT_BINARY_DIR}/package/ringlet.pc
    @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/ringlet.pc DESTINATION ${ringlet_pkgconfig_dir})

# ---- ringlet::tls: files of its own, so that a package may leave it out ------------------------------
if(RINGLET_TLS)
    set_target_properties(ringlet_tls PROPERTIES
        VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    install(TARGETS ringlet_tls EXPORT ringlet-tls-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/tls/include/ringlet
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
    install(EXPORT ringlet-tls-targets NAMESPACE ringlet:: DESTINATION ${ringlet_cmake_dir})
    if(ringlet_type STREQUAL "STATIC_LIBRARY")
        set(ringlet_tls_pc_requires "Requires: ringlet openssl >= 3")
    else()
        set(ringlet_tls_pc_requires "Requires: ringlet\nRequires.private: openssl >= 3")
    endif()
    configure_file(${PROJECT_SOURCE_DIR}/cmake/ringlet-tls.pc.in ${PROJECT_BINARY_DIR}/package/ringlet-tls.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/package/ringlet-tls.pc DESTINATION ${ringlet_pkgconfig_dir})
endif()

# ---- the programs --------------------------------------------------------------------------------
if(RINGLET_PROGRAMS)
    # A program finds a shared library beside it; a static one needs no path.
    if(ringlet_type STREQUAL "SHARED_LIBRARY" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_BINDIR}")
        file(RELATIVE_PATH to_libraries /prefix/${CMAKE_INSTALL_BINDIR}
            /prefix/${CMAKE_INSTALL_LIBDIR})
        set_target_properties(echo_coro echo_bench ringlet_doctor ringlet_top PROPERTIES
            INSTALL_RPATH "$ORIGIN/${to_libraries}")
    endif()
    install(TARGETS echo_coro echo_bench ringlet_doctor ringlet_top DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
