# tersor - vcpkg port
# SPDX-License-Identifier: MIT
set(VCPKG_BUILD_TYPE release) # headers only

# Where releases are, and the hash of this one (vcpkg prints it at the first try).
set(TERSOR_RELEASES "" CACHE STRING "URL of the folder with tersor-VERSION.tar.gz")
set(TERSOR_SHA512 0 CACHE STRING "SHA-512 of the archive")
if(NOT TERSOR_RELEASES)
  message(FATAL_ERROR "TERSOR_RELEASES: expected the URL of the folder that holds tersor-${VERSION}.tar.gz")
endif()
vcpkg_download_distfile(archive
  URLS "${TERSOR_RELEASES}/tersor-${VERSION}.tar.gz"
  FILENAME "tersor-${VERSION}.tar.gz"
  SHA512 ${TERSOR_SHA512})
vcpkg_extract_source_archive(source ARCHIVE "${archive}")

vcpkg_cmake_configure(SOURCE_PATH "${source}"
  OPTIONS -DTERSOR_BUILD_TESTS=OFF -DTERSOR_BUILD_EXAMPLES=OFF -DTERSOR_BUILD_PRECOMPILED=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/tersor)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug")
vcpkg_install_copyright(FILE_LIST "${source}/LICENSE")
