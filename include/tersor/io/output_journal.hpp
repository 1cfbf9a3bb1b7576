// tersor - the journal of a long run: which parts of its output are finished
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>      // std::fopen
#include <filesystem>  // std::filesystem::path
#include <string>      // std::string
#include <vector>      // std::vector

#include <tersor/io/json.hpp>

namespace tersor::io {

/// A text file of JSON lines: what the run was asked to do, then one line for each finished part. A line is
/// on the disk when `append` returns. A line that was cut off by the end of the process does not count.
///
/// An entry {"finished": bytes} says that the weight files beside the journal are complete; the bytes of
/// these files must be so many.
class output_journal {
 public:
  /// Its name in the folder that the run writes.
  static constexpr const char* file_name = ".journal";

  /// Opens or begins a journal. @param settings all that decides the output; a journal of other settings is
  /// an error that names the first one that differs.
  output_journal(const std::filesystem::path& path, const json& settings) : path_(path) {
    if (std::filesystem::exists(path)) read(settings);
    file_ = std::fopen(path.string().c_str(), "ab");
    if (file_ == nullptr)
      fail(path.string(), "", "a file that can be written (" + detail::reason(errno) + ")");
    if (empty_) append_line(settings);
  }
  output_journal(const output_journal&) = delete;
  output_journal& operator=(const output_journal&) = delete;
  ~output_journal() { std::fclose(file_); }

  /// The entries of the run that is taken up, in order.
  const std::vector<json>& entries() const { return entries_; }
  void append(const json& entry) { append_line(entry); }

 private:
  void read(const json& settings) {
    const std::string where = path_.string(), text = read_text_file(path_);
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const json line = parse_json(std::string_view(text).substr(begin, end - begin), where);
      if (!empty_) {
        check_finished(line);
        entries_.push_back(line);
        continue;
      }
      empty_ = false;
      require(line.is_object(), where, type_of(line), "an object of settings");
      for (const auto& item : settings.items()) {
        const auto found = line.find(item.key());
        if (found == line.end() || *found != item.value())
          fail(concat("--resume: ", item.key()), json_text(item.value()),
               concat(found == line.end() ? "none" : json_text(*found),
                      ", as in the interrupted run; without --resume a new one begins (", where, ")"));
      }
    }
    std::filesystem::resize_file(path_, begin);
  }
  void check_finished(const json& line) const {
    if (!line.is_object() || !line.contains("finished")) return;
    std::uint64_t bytes = 0;
    for (const auto& file :
         std::filesystem::directory_iterator(std::filesystem::absolute(path_).parent_path()))
      if (file.path().extension() == ".safetensors" && file.path().filename().string()[0] != '.')
        bytes += file.file_size();
    const std::string where = path_.string();
    require(get<std::uint64_t>(line, "finished", where) == bytes, where, json_text(line), bytes,
            ", the bytes of the weight files beside it");
  }
  void append_line(const json& line) {
    const std::string text = json_text(line) + "\n";
    const bool written = std::fwrite(text.data(), 1, text.size(), file_) == text.size();
    if (!written || std::fflush(file_) != 0)
      fail(path_.string(), "", "all bytes to be written (" + detail::reason(errno) + ")");
#if TERSOR_HAS_MMAP
    ::fsync(::fileno(file_));
#endif
  }

  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
  bool empty_ = true;
  std::vector<json> entries_;
};

/// JSON that an entry keeps as text, because of its order. Errors name the entry.
inline ordered_json kept_json(const json& entry, std::string_view key, const std::string& where) {
  const auto text = get<std::string>(entry, key, where);
  parse_json(text, concat(where, ": \"", key, "\""));
  return ordered_json::parse(text);
}

/// A path as text that JSON can hold: of one that is not UTF-8, bytes above 127 are written "\xNN".
inline std::string path_text(const std::filesystem::path& path) {
  std::string text = path.string();
  if (parse_json(json_text(text), "path").get_ref<const std::string&>() == text) return text;
  std::string escaped;
  for (const char c : text) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    escaped += byte < 128 ? std::string(1, c) : std::string("\\x") + digits[byte >> 4U] + digits[byte & 15U];
  }
  return escaped;
}

/// What tells inputs from others, for a journal's settings: path, bytes and time of the last change of each.
inline json identity_of(const std::vector<std::filesystem::path>& files) {
  json list = json::array();
  for (const auto& path : files)
    list.push_back({path_text(path), std::filesystem::file_size(path),
                    std::filesystem::last_write_time(path).time_since_epoch().count()});
  return list;
}

}  // namespace tersor::io
