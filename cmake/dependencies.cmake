# tersor - what other people's packages are found, and what happens without them
# SPDX-License-Identifier: MIT

# Eigen's version file accepts its own major version only, so 5 would be refused where 3.4 is asked for: any version
# is found, and compared here.
find_package(Eigen3 CONFIG QUIET)
if(NOT Eigen3_FOUND)
  message(FATAL_ERROR "tersor needs Eigen 3.4 or newer (Debian: apt-get install libeigen3-dev)")
elseif(Eigen3_VERSION VERSION_LESS 3.4)
  message(FATAL_ERROR "tersor needs Eigen 3.4 or newer, found ${Eigen3_VERSION} in ${Eigen3_DIR}")
endif()
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# Wanted by the model files, the pipeline and the command.
find_package(nlohmann_json CONFIG QUIET)
find_package(fmt CONFIG QUIET)

# Wanted by tersor::precompiled.
if(TERSOR_BUILD_PRECOMPILED)
  if(NOT TERSOR_WITH_BLAS STREQUAL "OFF")
    set(BLA_VENDOR OpenBLAS)  # it has CBLAS and LAPACK in one library
    if(TERSOR_WITH_BLAS STREQUAL "AUTO")
      find_package(BLAS QUIET)
      if(NOT BLAS_FOUND)
        message(STATUS "tersor: OpenBLAS not found, Eigen's own products are used (libopenblas-dev)")
      endif()
    else()
      find_package(BLAS REQUIRED)
    endif()
  endif()
endif()
