# tersor - install and export; find_package(tersor) afterwards gives the same targets
# SPDX-License-Identifier: MIT
include(CMakePackageConfigHelpers)
set(tersor_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tersor)
if(NOT TARGET tersor_precompiled)
  set(tersor_cmake_dir ${CMAKE_INSTALL_DATADIR}/cmake/tersor)  # nothing here depends on the machine
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tersor DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inc")
foreach(name tersor tersor_all tersor_precompiled)
  if(TARGET ${name})
    install(TARGETS ${name} EXPORT ${name}Targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT ${name}Targets NAMESPACE tersor:: DESTINATION ${tersor_cmake_dir})
  endif()
endforeach()

# What tersor::precompiled was built with, found again by its users.
set(tersor_precompiled_with "")
if(BLAS_FOUND)
  list(APPEND tersor_precompiled_with BLAS)
endif()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tersorConfig.cmake.in
  ${PROJECT_BINARY_DIR}/tersorConfig.cmake INSTALL_DESTINATION ${tersor_cmake_dir})
if(TARGET tersor_precompiled)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/tersorConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
else()
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/tersorConfigVersion.cmake
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
endif()
install(FILES ${PROJECT_BINARY_DIR}/tersorConfig.cmake ${PROJECT_BINARY_DIR}/tersorConfigVersion.cmake
  DESTINATION ${tersor_cmake_dir})

# pkg-config: the headers and Eigen, as tersor::tersor.
set(tersor_pc_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)
file(RELATIVE_PATH tersor_pc_prefix /${tersor_pc_dir} /)
string(REGEX REPLACE "/$" "" tersor_pc_prefix "${tersor_pc_prefix}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/tersor.pc.in ${PROJECT_BINARY_DIR}/tersor.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tersor.pc DESTINATION ${tersor_pc_dir})
