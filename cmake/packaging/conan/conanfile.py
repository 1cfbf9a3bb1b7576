# tersor - Conan 2 recipe
# SPDX-License-Identifier: MIT
from pathlib import Path

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, get
from conan.tools.layout import basic_layout


class Tersor(ConanFile):
    name = "tersor"
    license = "MIT"
    description = "Header-only C++20 library of neural-network compression"
    topics = ("neural-networks", "quantization", "pruning", "compression", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"all": [True, False]}
    default_options = {"all": False}
    no_copy_source = True

    def layout(self):
        basic_layout(self, src_folder="src")

    def requirements(self):
        self.requires("eigen/3.4.0", transitive_headers=True)
        if self.options.all:
            self.requires("nlohmann_json/3.11.3", transitive_headers=True)
            self.requires("fmt/11.0.2", transitive_headers=True)

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def package(self):
        copy(self, "LICENSE", self.source_folder, Path(self.package_folder) / "licenses")
        for pattern in ("*.hpp", "*.inc"):
            copy(self, pattern, Path(self.source_folder) / "include", Path(self.package_folder) / "include")

    def package_info(self):
        self.cpp_info.bindirs = self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "tersor")
        self.cpp_info.set_property("pkg_config_name", "tersor")
        headers = self.cpp_info.components["headers"]
        headers.set_property("cmake_target_name", "tersor::tersor")
        headers.requires = ["eigen::eigen"]
        headers.bindirs = headers.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            headers.system_libs = ["pthread"]
        if self.options.all:
            everything = self.cpp_info.components["all"]
            everything.set_property("cmake_target_name", "tersor::all")
            everything.requires = ["headers", "nlohmann_json::nlohmann_json", "fmt::fmt"]
            everything.bindirs = everything.libdirs = []
