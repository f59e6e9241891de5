#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "top/top_machine.h"
#include "top/top_screen.h"
#include "top/top_state.h"

namespace drover::cli {
namespace {

const Timestamp kNow{std::chrono::hours(1)};

// ---- reading

TEST(ReadModels, ReadsWhatDroverAndOllamaSay) {
  const auto models = read_models(Json::parse(R"({"models":[
    {"name":"a","size":100,"size_vram":40,"expires_at":"1970-01-01T01:04:58Z","state":"loaded","running":2,"waiting":3,
     "parallel":4,"kv":{"cells":200,"used":50}},
    {"model":"b","size":7},
    {"name":"c","state":"loading","load_progress":0.5,"running":"many"}, 5]})"));
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models[0].running, 2u);
  EXPECT_EQ(models[0].slots, 4u);
  EXPECT_EQ(models[0].cells_used, 0.25);
  EXPECT_EQ(models[0].expires, kNow + std::chrono::seconds(298));
  EXPECT_EQ(models[1].name, "b");
  EXPECT_EQ(models[1].running, std::nullopt);
  EXPECT_EQ(models[1].state, "");
  EXPECT_EQ(models[2].load_fraction, 0.5);
  EXPECT_EQ(models[2].running, std::nullopt);
  EXPECT_TRUE(read_models(Json::parse("[]")).empty());
  EXPECT_TRUE(read_models(Json::parse(R"({"models":null})")).empty());
}

TEST(ReadModels, CountsSlotsForEmbeddingsApart) {
  const auto models = read_models(Json::parse(R"({"models":[
    {"name":"both","running":1,"waiting":2,"slots":4,"tasks":[
      {"task":"completion","running":1,"waiting":2,"slots":4},
      {"task":"embedding","running":3,"waiting":1,"parallel":64}]},
    {"name":"bert","running":3,"parallel":64,"tasks":[{"task":"embedding","running":3,"waiting":0,"parallel":64},5]}]})"));
  ASSERT_EQ(models.size(), 2u);
  EXPECT_TRUE(models[0].generates);
  EXPECT_EQ(models[0].running, 1u);
  EXPECT_EQ(models[0].slots, 4u);
  EXPECT_EQ(models[0].embed_running, 3u);
  EXPECT_EQ(models[0].embed_slots, 64u);
  EXPECT_EQ(models[0].waiting, 3u);
  EXPECT_FALSE(models[1].generates);
  EXPECT_EQ(models[1].running, std::nullopt);
  EXPECT_EQ(models[1].embed_slots, 64u);
}

TEST(ShowRates, OnceForEachName) {
  std::vector<TopModel> models(4);
  models[0].name = models[1].name = "a";
  models[2].name = "bert";
  models[2].generates = false;
  models[3].name = "b";
  show_rates(models, {{"a", 45.9}, {"bert", 0}});
  EXPECT_EQ(models[0].tokens_per_second, 45.9);
  for (const std::size_t other : {1, 2, 3}) EXPECT_EQ(models[other].tokens_per_second, std::nullopt) << other;
}

TEST(ReadRequests, PutsThoseThatRunFirst) {
  std::uint64_t left_out = 9;
  const auto requests = read_requests(Json::parse(R"({"requests":[
    {"id":"w2","phase":"queued","position":2,"age_ms":500,"estimated_wait_ms":1500},
    {"id":"w1","phase":"loading","position":1,"age":2000000,"estimated_wait":null},
    {"id":"r","phase":"generating","position":0,"prompt_tokens":5,"output_tokens":6,"estimated_wait_ms":0}]})"),
                                      left_out);
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(left_out, 0u);
  EXPECT_EQ(requests[0].id, "r");
  EXPECT_EQ(requests[0].position, std::nullopt);
  EXPECT_EQ(requests[0].estimated_wait, std::nullopt);
  EXPECT_EQ(requests[1].id, "w1");
  EXPECT_EQ(requests[1].age, std::chrono::milliseconds(2));
  EXPECT_EQ(requests[1].estimated_wait, std::nullopt);
  EXPECT_EQ(requests[2].age, std::chrono::milliseconds(500));
  EXPECT_EQ(requests[2].estimated_wait, std::chrono::milliseconds(1500));
  read_requests(Json::parse(R"({"requests":[{}],"running":3,"waiting":4})"), left_out);
  EXPECT_EQ(left_out, 6u);
}

TEST(ReadCounter, SumsByModel) {
  const std::string text =
      "# HELP tokens_total Tokens.\n# TYPE tokens_total counter\n"
      "tokens_total{model=\"a:latest\"} 10\n"
      "tokens_total{model=\"b\\\"c\",reason=\"x\"} 2.5\n"
      "tokens_total{reason=\"y\",model=\"b\\\"c\"} 1\n"
      "tokens_total_more{model=\"a:latest\"} 99\n"
      "tokens_total{other_model=\"z\",model=\"d\"} 4 1700000000\n"
      "tokens_total{model=\"broken\n"
      "tokens_total{model=\"e\"} what";
  const auto values = read_counter(text, "tokens_total");
  EXPECT_EQ(values, (std::map<std::string, double>{{"a:latest", 10}, {"b\"c", 3.5}, {"d", 4}}));
  EXPECT_TRUE(read_counter("<html>", "tokens_total").empty());
}

TEST(RateMeter, GivesWhatWasAddedASecond) {
  RateMeter meter;
  const TimePoint start{};
  EXPECT_TRUE(meter.update({{"a", 100}}, start).empty());
  const auto rates = meter.update({{"a", 150}, {"new", 20}}, start + std::chrono::seconds(2));
  EXPECT_DOUBLE_EQ(rates.at("a"), 25);
  EXPECT_DOUBLE_EQ(rates.at("new"), 10);
  EXPECT_DOUBLE_EQ(meter.update({{"a", 3}}, start + std::chrono::seconds(3)).at("a"), 0);  // the server was restarted
}

TEST(ParseMachine, ReadsProc) {
  const auto memory = parse_memory("MemTotal:       1000 kB\nMemFree: 5 kB\nMemAvailable:    250 kB\n");
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->total, 1'024'000u);
  EXPECT_EQ(memory->available, 256'000u);
  EXPECT_FALSE(parse_memory("MemTotal: 5 kB\n"));
}

TEST(DrmGpus, AreThoseWhoseDriverTells) {
  const std::filesystem::path folder = ::testing::TempDir() + "drm-" + std::to_string(::getpid());
  const auto write = [&](const char* card, const char* file, const char* text) {
    std::filesystem::create_directories(folder / card / "device");
    std::ofstream(folder / card / "device" / file) << text;
  };
  write("card0", "vendor", "0x8086\n");
  write("card1", "mem_info_vram_total", "17163091968\n");
  write("card1", "mem_info_vram_used", "1000000\n");
  write("card1", "gpu_busy_percent", "37\n");
  write("card2", "mem_info_vram_total", "1000\n");
  write("card2", "mem_info_vram_used", "500\n");
  write("card3", "mem_info_vram_total", "soon\n");
  const auto gpus = read_drm_gpus(folder);
  std::filesystem::remove_all(folder);
  ASSERT_EQ(gpus.size(), 2u);
  EXPECT_EQ(gpus[0].memory_total, 17'163'091'968u);
  EXPECT_EQ(gpus[0].memory_used, 1'000'000u);
  EXPECT_EQ(gpus[0].use_percent, 37);
  EXPECT_EQ(gpus[1].use_percent, std::nullopt);
  EXPECT_TRUE(read_drm_gpus(folder).empty());
}

// ---- drawing

TopState busy_state(int waiting) {
  TopState state;
  state.url = "http://127.0.0.1:11434";
  state.version = "0.1.0";
  state.has_queue = true;
  state.has_rates = true;
  TopModel model;
  model.name = "llama3.2:latest";
  model.state = "loaded";
  model.running = 2;
  model.waiting = static_cast<std::uint64_t>(waiting);
  model.slots = 2;
  model.tokens_per_second = 61.25;
  model.memory = 2'500'000'000;
  state.models = {model};
  model.name = "idle:latest";
  model.running = model.waiting = 0;
  model.expires = kNow + std::chrono::seconds(298);
  state.models.push_back(model);
  for (int i = 0; i < waiting + 2; ++i) {
    TopRequest request;
    request.id = "req-" + std::to_string(i);
    request.model = "llama3.2:latest";
    request.client = "10.0.0." + std::to_string(i);
    request.phase = i < 2 ? "generating" : "queued";
    if (i >= 2) request.position = static_cast<std::uint64_t>(i - 1);
    request.age = std::chrono::milliseconds(1500);
    request.prompt_tokens = 100;
    request.output_tokens = 7;
    state.requests.push_back(request);
  }
  state.machine = TopMachine{8, 42.4, 4'000'000'000, 32'000'000'000, {{"H100", 10'000'000'000, 80'000'000'000, 97}}};
  return state;
}

std::string joined(const std::vector<ScreenLine>& lines) {
  std::string text;
  for (const ScreenLine& line : lines) text += line.text + "\n";
  return text;
}

const ScreenLine* selected_line(const std::vector<ScreenLine>& lines) {
  const ScreenLine* found = nullptr;
  for (const ScreenLine& line : lines) {
    if (line.style != LineStyle::kSelected) continue;
    EXPECT_EQ(found, nullptr) << "two lines are selected";
    found = &line;
  }
  return found;
}

TEST(DrawTop, ShowsEverythingAtEightyByTwentyFour) {
  const auto lines = draw_top(busy_state(3), TopCursor(), {80, 24}, kNow);
  ASSERT_EQ(lines.size(), 24u);
  const std::string text = joined(lines);
  for (const char* part : {"http://127.0.0.1:11434", "version 0.1.0", "CPU 42% of 8 cores", "GPU 97% 10 GB of 80 GB",
                           "llama3.2:latest", "2/2", "61.2", "2.5 GB", "in use", "4m58s", "2 running, 3 waiting",
                           "req-0", "10.0.0.4", "generating", "queued", "1.5s", "100+7", "q quit"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(DrawTop, HasAColumnForEmbeddingsWhileThereAreSome) {
  TopState state = busy_state(0);
  EXPECT_EQ(joined(draw_top(state, TopCursor(), {80, 24}, kNow)).find("EMBEDS"), std::string::npos);
  state.models[1].embed_running = 3;
  state.models[1].embed_slots = 64;
  const auto lines = draw_top(state, TopCursor(), {80, 24}, kNow);
  EXPECT_NE(joined(lines).find("SLOTS  EMBEDS WAITING"), std::string::npos) << joined(lines);
  EXPECT_NE(joined(lines).find("0/2    3/64       0"), std::string::npos) << joined(lines);
  EXPECT_NE(joined(lines).find("in use"), std::string::npos);
}

TEST(DrawTop, FitsAnyScreenAndKeepsTheSelectionOnIt) {
  for (const int waiting : {0, 3, 500}) {
    const TopState state = busy_state(waiting);
    for (int rows = 1; rows <= 40; ++rows) {
      for (const int columns : {1, 5, 20, 39, 40, 60, 79, 80, 200}) {
        TopCursor cursor;
        keep_selection(state, cursor);
        move_selection(state, cursor, waiting + 3);
        const auto lines = draw_top(state, cursor, {columns, rows}, kNow);
        EXPECT_LE(lines.size(), static_cast<std::size_t>(rows));
        for (const ScreenLine& line : lines) EXPECT_LE(display_width(line.text), columns) << line.text;
        if (rows >= 12 && columns >= 39) {
          EXPECT_NE(selected_line(lines), nullptr) << columns << "x" << rows;
        }
      }
    }
  }
}

TEST(DrawTop, ScrollsBothListsWhenTheyAreLong) {
  TopState state = busy_state(100);
  for (int i = 0; i < 50; ++i) {
    state.models.push_back(state.models.back());
    state.models.back().name = "model-" + std::to_string(i);
  }
  TopCursor cursor;
  for (std::size_t i = 0; i < rows_of(state).size(); ++i) {
    keep_selection(state, cursor);
    const auto lines = draw_top(state, cursor, {80, 24}, kNow);
    const ScreenLine* line = selected_line(lines);
    ASSERT_NE(line, nullptr) << i;
    EXPECT_NE(line->text.find(cursor.selected.id), std::string::npos) << line->text;
    move_selection(state, cursor, 1);
  }
}

TEST(DrawTop, SaysWhatAPlainOllamaDoesNotTell) {
  TopState state;
  state.url = "http://far.away:11434";
  state.version = "0.30.0";
  TopModel model;
  model.name = "llama3.2";
  model.memory = 1000;
  state.models = {model};
  const std::string text = joined(draw_top(state, TopCursor(), {80, 24}, kNow));
  EXPECT_NE(text.find("does not tell: requests (no /api/queue), tokens/s (no /metrics)"), std::string::npos) << text;
  EXPECT_EQ(text.find("REQUEST "), std::string::npos);
  EXPECT_EQ(text.find("CPU"), std::string::npos);
}

TEST(DrawTop, ShowsProblemsQuestionsAndHelp) {
  TopState state = busy_state(1);
  state.problem = "The server does not answer.";
  TopCursor cursor;
  cursor.question = "Cancel request req-1?";
  auto lines = draw_top(state, cursor, {80, 24}, kNow);
  EXPECT_EQ(lines[1].text, " The server does not answer.");
  EXPECT_EQ(lines.back().text, " Cancel request req-1? (y/n)");
  cursor.help = true;
  lines = draw_top(state, cursor, {80, 24}, kNow);
  EXPECT_NE(joined(lines).find("cancel the selected request"), std::string::npos);
  for (const ScreenLine& line : lines) EXPECT_LE(display_width(line.text), 80);
}

TEST(DrawTop, NamesTheSettingThatWouldHelp) {
  TopState state = busy_state(3);
  state.advice = "a larger OLLAMA_NUM_PARALLEL than 2 (or auto) would help: 3 requests wait";
  const std::string text = joined(draw_top(state, TopCursor(), {80, 24}, kNow));
  EXPECT_NE(text.find("2 running, 3 waiting\n a larger OLLAMA_NUM_PARALLEL than 2"), std::string::npos) << text;
}

TEST(DrawTop, LetsNoServerSteerTheTerminal) {
  TopState state = busy_state(1);
  state.version = "1\x1b[2J";
  state.models[0].name = "a\x1b]0;title\x07\nb";
  state.requests[0].client = "\t\x7f\xff";
  for (const ScreenLine& line : draw_top(state, TopCursor(), {80, 24}, kNow)) {
    const bool control = std::any_of(line.text.begin(), line.text.end(),
                                     [](unsigned char character) { return character < 0x20 || character == 0x7f; });
    EXPECT_FALSE(control) << line.text;
  }
}

TEST(Selection, StaysWithItsRowAndMovesOnWhenThatIsGone) {
  TopState state = busy_state(3);
  TopCursor cursor;
  keep_selection(state, cursor);
  EXPECT_EQ(cursor.selected.id, "llama3.2:latest");
  move_selection(state, cursor, -5);
  EXPECT_EQ(cursor.selected.id, "llama3.2:latest");
  move_selection(state, cursor, 3);
  EXPECT_EQ(cursor.selected.id, "req-1");
  state.requests.erase(state.requests.begin());
  keep_selection(state, cursor);
  EXPECT_EQ(cursor.selected.id, "req-1");
  state.requests.erase(state.requests.begin());
  keep_selection(state, cursor);
  EXPECT_EQ(cursor.selected.id, "req-2");
  state.requests.clear();
  keep_selection(state, cursor);
  EXPECT_EQ(cursor.selected.id, "idle:latest");
  state.models.clear();
  keep_selection(state, cursor);
  EXPECT_EQ(cursor.selected.kind, TopRow::Kind::kNone);
  move_selection(state, cursor, 1);
}

TEST(ScreenCodes, FillBarsAndClearWhatWasThere) {
  const std::string codes = screen_codes({{LineStyle::kBar, "ab"}, {LineStyle::kPlain, "cd"}}, {4, 3});
  EXPECT_EQ(codes, "\x1b[H\x1b[7mab  \x1b[0m\r\ncd\x1b[0m\x1b[K\r\n\x1b[J");
}

}  // namespace
}  // namespace drover::cli
