// tersor - a folder that appears complete or not at all
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>    // std::filesystem::path
#include <span>          // std::span
#include <string>        // std::string
#include <system_error>  // std::error_code

#include <tersor/core/error.hpp>
#include <tersor/io/file.hpp>
#include <tersor/io/folder_lock.hpp>

namespace tersor::io {

/// Collects output in a temporary folder beside its destination; `commit()` renames it into place. Without
/// commit() (an error on the way) the temporary folder is removed and the destination is as it was. Errors
/// name the path.
///
///   tersor::io::output_folder out("small-model", /*force=*/false);
///   writer.write(out.path() / "model.safetensors");
///   out.commit();
class output_folder {
 public:
  /// @param path the destination, whose parent exists. An error if it exists, unless `force`: then commit()
  /// replaces it, and what was there is removed only after the new folder is in place.
  /// @param keep the temporary folder has a name of its own, ".NAME.tersor-partial"; one that an interrupted
  /// run left is taken up again, without the files that it had begun, and without commit() it stays. One that
  /// another run works in is an error.
  explicit output_folder(const std::filesystem::path& path, bool force = false, bool keep = false)
      : path_(path), force_(force), keep_(keep) {
    path_ = path.lexically_normal();
    if (!path_.has_filename()) path_ = path_.parent_path();
    const std::string name = path_.filename().string();
    require(!name.empty() && name != "." && name != "..", "output folder", path.string(),
            "a path that ends with a name");
    require_free();
    std::error_code code;
    if (keep_) {
      temporary_ = path_.parent_path() / concat(".", name, ".tersor-partial");
      std::filesystem::create_directory(temporary_, code);
      if (code) {
        temporary_.clear();
        fail(path_.string(), "", "a parent folder that can be written to (" + code.message() + ")");
      }
      lock_ = folder_lock(temporary_, path_.string());
      if (!force_ && exists(path_)) discard();  // another run finished after the look
      require_free();
      detail::remove_siblings(temporary_);
      return;
    }
    // Another process may take the name between the look and the creation.
    for (bool made = false; !made;) {
      temporary_ = detail::sibling(path_);
      made = std::filesystem::create_directory(temporary_, code);
      if (code) {
        temporary_.clear();
        fail(path_.string(), "", "a parent folder that can be written to (" + code.message() + ")");
      }
    }
  }
  output_folder(const output_folder&) = delete;
  output_folder& operator=(const output_folder&) = delete;
  ~output_folder() {
    if (!temporary_.empty()) discard();
  }

  /// Where to write until commit().
  const std::filesystem::path& path() const { return temporary_; }
  /// Where the folder will be.
  const std::filesystem::path& destination() const { return path_; }

  /// Puts the folder in place. To be called once; if it fails, the destination is as it was, unless the error
  /// says that the new folder is in place and what it replaced is still beside it.
  /// @param notes names of files and folders in it that only an interrupted run needs: removed when it is in
  /// place, so that a run which ends on the way can go on.
  void commit(std::span<const std::string> notes = {}) {
    std::filesystem::path old;
    std::error_code code;
    require_free();
    if (exists(path_)) {
      old = detail::sibling(path_);
      std::filesystem::rename(path_, old, code);
      if (code) fail(path_.string(), "", "a folder that can be moved aside (" + code.message() + ")");
    }
    std::filesystem::rename(temporary_, path_, code);
    if (code) {
      std::error_code ignored;
      if (!old.empty()) std::filesystem::rename(old, path_, ignored);
      fail(path_.string(), "", "a destination that can be renamed to (" + code.message() + ")");
    }
    temporary_.clear();
    lock_.remove_file(path_);
    for (const auto& name : notes) std::filesystem::remove_all(path_ / name, code);
    if (old.empty()) return;
    std::filesystem::remove_all(old, code);
    if (code)
      fail(path_.string(), "in place",
           concat("what it replaced to be removed, which is at ", old.string(), " (", code.message(), ")"));
  }

 private:
  static bool exists(const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
  }
  void require_free() const {
    require(force_ || !exists(path_), path_.string(), "exists", "a new folder, or permission to replace it");
  }
  void discard() const {
    std::error_code ignored;
    if (!keep_) {
      std::filesystem::remove_all(temporary_, ignored);
    } else if (is_unused()) {
      lock_.remove_file(temporary_);
      std::filesystem::remove(temporary_, ignored);
    }
  }
  /// Does the temporary folder hold nothing but the lock?
  bool is_unused() const {
    std::error_code ignored;
    for (const auto& file : std::filesystem::directory_iterator(temporary_, ignored))
      if (file.path().filename() != folder_lock::file_name) return false;
    return true;
  }
  std::filesystem::path path_, temporary_;
  bool force_, keep_;
  folder_lock lock_;
};

}  // namespace tersor::io
