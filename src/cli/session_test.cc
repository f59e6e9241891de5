#include "cli/session.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/create.h"
#include "cli/repl_help.h"
#include "terminal/format.h"

namespace drover::cli {
namespace {

namespace fs = std::filesystem;

std::string set(Session& session, const std::string& line) {
  return apply_set(split_words(line), session);
}

TEST(Set, Parameters) {
  Session session;
  EXPECT_EQ(set(session, "/set parameter temperature 0.5"), "Set parameter 'temperature' to '0.5'\n");
  EXPECT_EQ(set(session, "/set parameter num_ctx 4096"), "Set parameter 'num_ctx' to '4096'\n");
  EXPECT_EQ(set(session, "/set parameter stop a b"), "Set parameter 'stop' to 'a, b'\n");
  EXPECT_EQ(session.options["temperature"], 0.5);
  EXPECT_EQ(session.options["num_ctx"], 4096);
  EXPECT_EQ(session.options["stop"], Json({"a", "b"}));
}

TEST(Set, WrongParametersChangeNothing) {
  Session session;
  EXPECT_EQ(set(session, "/set parameter"), kParameterHelp);
  EXPECT_EQ(set(session, "/set parameter seed"), kParameterHelp);
  EXPECT_EQ(set(session, "/set parameter nope 1"), "Couldn't set parameter: \"unknown parameter 'nope'\"\n");
  EXPECT_EQ(set(session, "/set parameter seed x"), "Couldn't set parameter: \"invalid int value [x]\"\n");
  EXPECT_TRUE(session.options.empty());
}

TEST(Set, Switches) {
  Session session;
  EXPECT_EQ(set(session, "/set verbose"), "Set 'verbose' mode.\n");
  EXPECT_TRUE(session.verbose);
  EXPECT_EQ(set(session, "/set quiet"), "Set 'quiet' mode.\n");
  EXPECT_FALSE(session.verbose);
  EXPECT_EQ(set(session, "/set nowordwrap"), "Set 'nowordwrap' mode.\n");
  EXPECT_FALSE(session.word_wrap);
  EXPECT_EQ(set(session, "/set nohistory"), "");
  EXPECT_FALSE(session.history);
  EXPECT_EQ(set(session, "/set format json"), "Set format to 'json' mode.\n");
  EXPECT_EQ(session.format, "json");
  EXPECT_EQ(set(session, "/set format yaml"), "Invalid or missing format. For 'json' mode use '/set format json'\n");
  EXPECT_EQ(session.format, "json");
  EXPECT_EQ(set(session, "/set noformat"), "Disabled format.\n");
  EXPECT_TRUE(session.format.is_null());
  EXPECT_EQ(set(session, "/set"), kSetHelp);
  EXPECT_EQ(set(session, "/set nothing"), "Unknown command '/set nothing'. Type /? for help\n");
}

TEST(Set, Think) {
  Session session;
  session.model = "m";
  EXPECT_EQ(set(session, "/set think"), "warning: model \"m\" does not support thinking output\nSet 'think' mode.\n");
  EXPECT_EQ(session.think, true);
  session.learn({{"capabilities", {"completion", "thinking"}}});
  EXPECT_EQ(set(session, "/set think high"), "Set 'think' mode to 'high'.\n");
  EXPECT_EQ(session.think, "high");
  EXPECT_EQ(set(session, "/set nothink"), "Set 'nothink' mode.\n");
  EXPECT_EQ(session.think, false);
}

TEST(SessionTest, ThinksWhenTheModelCanUnlessTheUserChose) {
  Session session;
  session.learn({{"capabilities", {"completion", "thinking"}}});
  EXPECT_EQ(session.think, true);
  session.learn({{"capabilities", {"completion"}}});
  EXPECT_TRUE(session.think.is_null());
  session.think = false;
  session.think_chosen = true;
  session.learn({{"capabilities", {"thinking"}}});
  EXPECT_EQ(session.think, false);
}

TEST(SessionTest, RequestsSayWhatIsSetOnly) {
  Session session;
  session.model = "m";
  EXPECT_EQ(session.request().dump(), R"({"model":"m"})");
  session.options["seed"] = 1;
  session.keep_alive = "5m";
  session.think = false;
  EXPECT_EQ(session.request().dump(), R"({"model":"m","options":{"seed":1},"keep_alive":"5m","think":false})");
}

TEST(SessionTest, SystemMessageReplacesOneThatWasNotUsed) {
  Session session;
  session.set_system("a");
  session.set_system("b");
  EXPECT_EQ(session.messages.dump(), R"([{"role":"system","content":"b"}])");
  session.messages.push_back({{"role", "user"}, {"content", "hi"}});
  session.set_system("c");
  EXPECT_EQ(session.messages.size(), 3u);
  session.clear();
  EXPECT_EQ(session.messages.dump(), R"([{"role":"system","content":"c"}])");
}

TEST(SessionTest, SavesFromItsParentIfThatIsAModel) {
  Session session;
  session.model = "m";
  session.parent_model = "/srv/models/x.gguf";
  EXPECT_EQ(session.create_request("n").dump(), R"({"model":"n","from":"m"})");
  session.parent_model = "base:1b";
  session.set_system("s");
  EXPECT_EQ(session.create_request("n").dump(),
            R"({"model":"n","from":"base:1b","system":"s","messages":[{"role":"system","content":"s"}]})");
}

TEST(Arguments, Format) {
  EXPECT_TRUE(parse_format("").is_null());
  EXPECT_EQ(parse_format("json"), "json");
  EXPECT_EQ(parse_format(R"({"type":"object"})")["type"], "object");
  EXPECT_EQ(parse_format("{bad"), "{bad");
}

TEST(Arguments, KeepAlive) {
  EXPECT_TRUE(parse_keep_alive("")->is_null());
  EXPECT_EQ(*parse_keep_alive("10m"), "10m");
  EXPECT_EQ(*parse_keep_alive("-1s"), -1);
  EXPECT_EQ(parse_keep_alive("300").error().message, "time: missing unit in duration \"300\"");
}

TEST(Arguments, Think) {
  EXPECT_EQ(*parse_think("true"), true);
  EXPECT_EQ(*parse_think("false"), false);
  EXPECT_EQ(*parse_think("low"), "low");
  EXPECT_EQ(parse_think("bad").error().message,
            "invalid value for --think: \"bad\" (must be true, false, high, medium, low, or max)");
}

class CreateTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("drover-cli-test-" + std::to_string(getpid()));
    fs::create_directories(folder_ / "weights");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name) { std::ofstream(folder_ / name) << "GGUF"; }
  Result<CreatePlan> plan(const std::string& text) {
    auto modelfile = Modelfile::parse(text);
    EXPECT_TRUE(modelfile.ok()) << text;
    return plan_create(*modelfile, folder_);
  }
  std::string failure(const std::string& text) {
    auto result = plan(text);
    return result.ok() ? "" : result.error().message;
  }

  fs::path folder_;
};

TEST_F(CreateTest, FromAModel) {
  const auto result = plan(
      "FROM cria\nTEMPLATE {{ .Prompt }}\nSYSTEM \"\"\"two\nlines\"\"\"\nPARAMETER stop a\nPARAMETER stop \"b c\"\n"
      "PARAMETER temperature 0.5\nMESSAGE user hi\nMESSAGE assistant so: hello\nLICENSE MIT\nLICENSE Apache\n");
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(result->files.empty());
  EXPECT_EQ(result->body.dump(),
            R"({"from":"cria","template":"{{ .Prompt }}","system":"two\nlines",)"
            R"("parameters":{"stop":["a","b c"],"temperature":0.5},)"
            R"("messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"so: hello"}],)"
            R"("license":["MIT","Apache"]})");
}

TEST_F(CreateTest, FilesAreRelativeToTheModelfile) {
  write("m.gguf");
  write("weights/m.gguf");
  const auto result = plan("FROM ./m.gguf\nADAPTER weights/m.gguf\n");
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_FALSE(result->body.contains("from"));
  ASSERT_EQ(result->files.size(), 2u);
  EXPECT_EQ(result->files[0].path, folder_ / "./m.gguf");
  EXPECT_EQ(result->files[0].use, LocalFile::Use::kModel);
  EXPECT_EQ(result->files[0].name, "m.gguf");
  EXPECT_EQ(result->files[1].use, LocalFile::Use::kAdapter);
  EXPECT_EQ(result->files[1].name, "2-m.gguf");
}

TEST_F(CreateTest, AFolderStandsForItsGgufFiles) {
  write("weights/b.gguf");
  write("weights/a.gguf");
  write("weights/readme.txt");
  const auto result = plan("FROM ./weights\n");
  ASSERT_TRUE(result.ok()) << result.error().message;
  ASSERT_EQ(result->files.size(), 2u);
  EXPECT_EQ(result->files[0].name, "a.gguf");
}

TEST_F(CreateTest, AModelMayBeCalledAsAFolderIs) {
  const auto result = plan("FROM weights\n");
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->body["from"], "weights");
}

TEST_F(CreateTest, SaysWhatIsWrong) {
  EXPECT_EQ(failure("FROM ./none.gguf\n"),
            "open " + (folder_ / "./none.gguf").string() + ": No such file or directory");
  EXPECT_EQ(failure("FROM m\nADAPTER none.gguf\n"),
            "open " + (folder_ / "none.gguf").string() + ": No such file or directory");
  EXPECT_EQ(failure("FROM ./weights\n"), "no GGUF files found in " + (folder_ / "./weights").string());
  EXPECT_EQ(failure("FROM m\nPARAMETER num_ctx x\n"), "invalid int value [x]");
  EXPECT_EQ(failure("FROM m\nPARAMETER nope x\n"), "unknown parameter 'nope'");
}

// A port that nothing listens on: the commands get as far as trying to connect, so their arguments were accepted.
int parse(const std::vector<std::string>& words) {
  setenv("OLLAMA_HOST", "127.0.0.1:1", 1);
  CLI::App app("test");
  int exit_code = -1;
  add_client_commands(app, exit_code);
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return 100;
  }
  return exit_code;
}

TEST(Commands, NoServerIsExitCodeOne) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(parse({"list"}), 1);
  EXPECT_EQ(
      testing::internal::GetCapturedStderr(),
      "Error: could not connect to the server at http://127.0.0.1:1, is it running? Start it with: drover serve\n");
}

TEST(Commands, ArgumentsMayBeCalledAsCommandsAre) {
  EXPECT_EQ(parse({"run", "cria", "list"}), 1);
  EXPECT_EQ(parse({"rm", "show", "ps"}), 1);
  EXPECT_EQ(parse({"cp", "list", "ls"}), 1);
}

TEST(Commands, TakeOddPromptsAndFlagsInAnyPlace) {
  EXPECT_EQ(parse({"run", "cria", "{}", "[1,2]", "%%"}), 1);
  EXPECT_EQ(parse({"run", "--verbose", "cria", "--think=high", "x", "--keepalive", "-1s"}), 1);
  EXPECT_EQ(parse({"run", "cria", "--", "-1 + 2"}), 1);
}

TEST(Commands, RefuseWrongNumbersOfArguments) {
  EXPECT_EQ(parse({"rm"}), 100);
  EXPECT_EQ(parse({"cp", "a"}), 100);
  EXPECT_EQ(parse({"show", "a", "b"}), 100);
  EXPECT_EQ(parse({"run", "cria", "--nope"}), 100);
}

}  // namespace
}  // namespace drover::cli
