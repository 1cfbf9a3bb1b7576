# tersor - the targets that users link: tersor::tersor, tersor::all, tersor::precompiled
# SPDX-License-Identifier: MIT
include(GNUInstallDirs)

# The headers and Eigen: all of the library but the model files, the pipeline and the command.
add_library(tersor INTERFACE)
add_library(tersor::tersor ALIAS tersor)
target_include_directories(tersor INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(tersor INTERFACE cxx_std_20)
target_link_libraries(tersor INTERFACE Eigen3::Eigen Threads::Threads)

# With the libraries that <tersor/all.hpp> includes.
if(nlohmann_json_FOUND AND fmt_FOUND)
  add_library(tersor_all INTERFACE)
  add_library(tersor::all ALIAS tersor_all)
  set_target_properties(tersor_all PROPERTIES EXPORT_NAME all)
  target_link_libraries(tersor_all INTERFACE tersor nlohmann_json::nlohmann_json fmt::fmt)
endif()

# What is slow to compile, compiled once: factorizations for float and double, kernels, the catalog of all techniques, reading of
# files; optional. What changes the meaning of a header (BLAS) is public here, so that all of a program agrees.
if(TERSOR_BUILD_PRECOMPILED AND EXISTS ${PROJECT_SOURCE_DIR}/src/precompiled.cpp)
  set(tersor_precompiled_sources activations adapter_methods caches ggml kernels operators precompiled pruners quantizers
    standard_catalog)
  if(nlohmann_json_FOUND)
    list(APPEND tersor_precompiled_sources adapters json models)
  endif()
  list(TRANSFORM tersor_precompiled_sources REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/src/\\1.cpp")
  # Evaluations spend a third of their time here when compilers do not vectorise, as with -O0 and -O1.
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/activations.cpp PROPERTIES COMPILE_OPTIONS -O3)
  endif()
  add_library(tersor_precompiled STATIC ${tersor_precompiled_sources})
  add_library(tersor::precompiled ALIAS tersor_precompiled)
  set_target_properties(tersor_precompiled PROPERTIES EXPORT_NAME precompiled POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(tersor_precompiled PUBLIC tersor)
  target_compile_options(tersor_precompiled PRIVATE ${TERSOR_PRECOMPILED_OPTIONS})
  if(nlohmann_json_FOUND)  # without becoming a dependency of users
    target_include_directories(tersor_precompiled SYSTEM PRIVATE
      $<TARGET_PROPERTY:nlohmann_json::nlohmann_json,INTERFACE_INCLUDE_DIRECTORIES>)
  endif()
  target_compile_definitions(tersor_precompiled PUBLIC TERSOR_PRECOMPILED)
  if(BLAS_FOUND)
    target_link_libraries(tersor_precompiled PUBLIC BLAS::BLAS)
    target_compile_definitions(tersor_precompiled PUBLIC TERSOR_USE_BLAS)
  endif()
endif()
