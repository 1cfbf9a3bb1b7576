// tersor - tests of the page that tersor compress --report writes
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

namespace tersor {
namespace report_tests {

using test::check_refused;
using test::command_line;
using test::holds;
using test::json_of;
using test::run;
using test::run_shell;
using test::shell_word;
using test::small_model;

// Python's parser of XML knows the page's elements; it prints the text of the page and how often each
// element occurs.
constexpr const char* read_page =
    "import sys, xml.etree.ElementTree as tree\n"
    "root = tree.parse(sys.argv[1]).getroot()\n"
    "print(' '.join(root.itertext()))\n"
    "names = [e.tag.split('}')[-1] for e in root.iter()]\n"
    "print('elements', *[names.count(n) for n in ('svg', 'figure', 'tr', 'script')])\n"
    "ids = [e.get('id') for e in root.iter() if e.get('id')]\n"
    "print('repeated ids', len(ids) - len(set(ids)))\n"
    "print('from outside', [v for e in root.iter() for k, v in e.items()\n"
    "      if k.split('}')[-1] in ('href', 'src') and not v.startswith('#')])\n";

std::string text_of(const std::string& page) {
  const auto read = run_shell("python3 -c " + shell_word(read_page) + " " + shell_word(page));
  INFO(read.err);
  REQUIRE(read.code == 0);
  return read.out;
}

TEST_CASE("command: a report is a page that parses, names every layer and refers to nothing outside it") {
  const small_model files;
  const auto page = files.beside("report.html");
  // characters that mean something to HTML, to gnuplot and to the shell
  const auto model = files.beside("a <b> & \"c\" 'd' \\e");
  std::filesystem::copy(files.model(), model);
  for (const std::string spec :
       {"rtn(bits=3,group_size=8); *.q_proj: svd(rank=2)", "awq|rtn(group_size=8)"}) {
    INFO(spec);
    const auto j = json_of({"compress", model, "--with", spec, "--calibration", files.text(), "--window",
                            "32", "--calibration-windows", "2", "--evaluate", files.text(), "--max-windows",
                            "2", "--report", page, "--force", "--json"});
    const auto text = text_of(page);
    CHECK(holds(text, {model, j.at("spec").get<std::string>(), "bits per weight", "perplexity"}));
    for (const auto& l : j.at("layers"))
      CHECK(holds(text, {l.at("name").get<std::string>(), std::to_string(l.at("bytes").get<std::size_t>())}));
    // five plots and three spectra; those of scaled layers have no error to show
    const auto rows = std::to_string(j.at("layers").size() + 1);
    CHECK(holds(text, {"elements 8 8 " + rows + " 0\n", "repeated ids 0\n", "from outside []\n"}));
    CHECK((text.find("is left out") != std::string::npos) == spec.starts_with("awq"));
  }
  // without an evaluation there is one plot less, and the page says why
  json_of(files.compress("rtn", {"--report", page, "--force", "--json"}));
  CHECK(holds(text_of(page), {"elements 7 7 ", "--evaluate"}));
}

TEST_CASE("command: what would stop a report is found before the work, and leaves nothing behind") {
  const small_model files;
  const auto page = files.beside("report.html");
  const auto arguments = files.compress("rtn", {"--report", page, "--out", files.beside("small")});
  check_refused(run_shell("PATH= " + command_line(arguments)), {"--report", "gnuplot", "gnuplot-nox"});
  check_refused(run(files.compress("rtn", {"--report", files.beside("none") + "/report.html"})),
                {"none", "a folder that can be written to"});
  check_refused(run(files.compress("rtn", {"--report", files.text()})),
                {"--report", files.text(), "--force"});
  check_refused(run(files.compress("rtn", {"--report", files.model(), "--force"})),
                {files.model(), "a file name, not a folder"});
  CHECK(files.folder().count() == 2);  // the model and the text
  CHECK(run(arguments).code == 0);
  CHECK(std::filesystem::exists(page));
  // a program of that name that is no gnuplot
  std::filesystem::create_directory(files.beside("bin"));
  const auto other = files.beside("bin") + "/gnuplot";
  io::write_text_file(other, "#!/bin/sh\necho 'no terminals here' >&2\nexit 3\n");
  std::filesystem::permissions(other, std::filesystem::perms::owner_all);
  check_refused(run_shell("PATH=" + shell_word(files.beside("bin")) + ":$PATH " +
                          command_line(files.compress("rtn", {"--report", page, "--force"}))),
                {"--report", "no terminals here", "gnuplot-nox"});
}

}  // namespace report_tests
}  // namespace tersor
