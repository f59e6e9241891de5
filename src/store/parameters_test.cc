#include "store/parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace drover {
namespace {

using nlohmann::ordered_json;

std::string error_of(const char* options) {
  const Result<ordered_json> checked = check_options(ordered_json::parse(options));
  return checked.ok() ? "" : checked.error().message;
}

TEST(Options, RefuseWrongTypesWithOllamasWords) {
  EXPECT_EQ(error_of(R"({"num_ctx": "4096"})"), "option \"num_ctx\" must be of type integer");
  EXPECT_EQ(error_of(R"({"seed": true})"), "option \"seed\" must be of type integer");
  EXPECT_EQ(error_of(R"({"temperature": "hot"})"), "option \"temperature\" must be of type float32");
  EXPECT_EQ(error_of(R"({"use_mmap": 1})"), "option \"use_mmap\" must be of type boolean");
  EXPECT_EQ(error_of(R"({"stop": 5})"), "option \"stop\" must be of type array");
  EXPECT_EQ(error_of(R"({"stop": ["x", 1]})"), "option \"stop\" must be of an array of strings");
  EXPECT_NE(error_of("[]"), "");
}

TEST(Options, AreConvertedToTheirTypes) {
  const ordered_json checked = *check_options(ordered_json::parse(
      R"({"num_ctx": 4096.9, "temperature": 1, "seed": 1e300, "top_k": -1e300, "stop": ["a"], "nope": {}, "top_p": null})"));
  EXPECT_EQ(
      checked.dump(),
      R"({"num_ctx":4096,"temperature":1.0,"seed":9223372036854775807,"top_k":-9223372036854775808,"stop":["a"]})");
  EXPECT_EQ(check_options({{"stop", "a"}})->dump(), R"({"stop":["a"]})");
  EXPECT_EQ(check_options(nullptr)->dump(), "{}");
  EXPECT_EQ(check_options(ordered_json{{"seed", ~std::uint64_t{0}}})->dump(), R"({"seed":9223372036854775807})");
}

std::string range_error_of(const ordered_json& options) {
  const Result<ordered_json> checked = check_options(options);
  if (!checked) return checked.error().message;
  const Result<void> within = check_ranges(*checked);
  return within ? "" : within.error().message;
}

constexpr const char* kIntegers[] = {"num_keep",  "num_predict", "top_k",    "repeat_last_n", "num_ctx",
                                     "num_batch", "num_gpu",     "main_gpu", "num_thread",    "draft_num_predict"};
constexpr const char* kFloats[] = {
    "top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"};

// What Ollama's clients send in earnest.
TEST(Options, OfUseAreWithinTheirRanges) {
  for (const char* options : {
           R"({"num_thread": 512, "main_gpu": 127, "num_batch": 2147483647, "num_ctx": -1, "num_gpu": -1})",
           R"({"num_predict": -2, "num_keep": -1, "top_k": -1, "repeat_last_n": -1, "seed": -1, "num_gpu": 999})",
           R"({"seed": 18446744073709551615})",
           R"({"seed": 1e300})",
           R"({"temperature": 0, "top_p": 1, "min_p": 0, "typical_p": 1, "repeat_penalty": 0})",
           R"({"temperature": -1, "top_p": 1.5, "presence_penalty": -2, "frequency_penalty": 2})",
           R"({"stop": []})",
       })
    EXPECT_EQ(range_error_of(ordered_json::parse(options)), "") << options;
}

TEST(Options, OutOfTheirRangesAreNamedWithTheBound) {
  for (const char* name : kIntegers) {
    const std::string start = std::string("option \"") + name + "\" must be ";
    const std::int64_t most = name == std::string("num_thread") ? kThreadsMax
                              : name == std::string("main_gpu") ? kMainGpuMax
                                                                : std::numeric_limits<std::int32_t>::max();
    EXPECT_EQ(range_error_of({{name, most}}), "") << name;
    for (const ordered_json& value :
         {ordered_json(most + 1), ordered_json(1e18), ordered_json(1e300), ordered_json(HUGE_VAL),
          ordered_json(std::numeric_limits<std::int64_t>::max()), ordered_json(~std::uint64_t{0})})
      EXPECT_EQ(range_error_of({{name, value}}), start + "at most " + std::to_string(most)) << value;
    for (const ordered_json& value : {ordered_json(-2147483649.0), ordered_json(-1e18), ordered_json(-1e300),
                                      ordered_json(-HUGE_VAL), ordered_json(std::numeric_limits<std::int64_t>::min())})
      EXPECT_EQ(range_error_of({{name, value}}), start + "at least -2147483648") << value;
    for (const ordered_json& value :
         {ordered_json("1"), ordered_json(true), ordered_json::array({1}), ordered_json::object()})
      EXPECT_EQ(range_error_of({{name, value}}), start + "of type integer") << value;
  }
  for (const char* name : kFloats) {
    const std::string start = std::string("option \"") + name + "\" must be ";
    const std::string least = name == std::string("repeat_penalty") ? "0" : "-1000000";
    for (const ordered_json& value : {ordered_json(1e6 + 1), ordered_json(1e18), ordered_json(1e300),
                                      ordered_json(HUGE_VAL), ordered_json(~std::uint64_t{0})})
      EXPECT_EQ(range_error_of({{name, value}}), start + "at most 1000000") << value;
    for (const ordered_json& value : {ordered_json(-1e6 - 1), ordered_json(-1e300), ordered_json(-HUGE_VAL)})
      EXPECT_EQ(range_error_of({{name, value}}), start + "at least " + least) << value;
    EXPECT_EQ(range_error_of({{name, std::nan("")}}), start + "at least " + least);
    EXPECT_EQ(range_error_of({{name, "hot"}}), start + "of type float32");
  }
}

TEST(Options, StopSequencesAreBounded) {
  const auto stops = [](std::size_t count, std::size_t bytes) {
    return ordered_json{{"stop", std::vector<std::string>(count, std::string(bytes, 'x'))}};
  };
  EXPECT_EQ(range_error_of(stops(kStopsMax, kStopBytesMax)), "");
  EXPECT_EQ(range_error_of(stops(kStopsMax + 1, 1)), "option \"stop\" must have at most 64 strings");
  EXPECT_EQ(range_error_of(stops(1, kStopBytesMax + 1)), "option \"stop\" must have strings of at most 4096 bytes");
}

TEST(Options, AreReadWithinBounds) {
  const ordered_json options = ordered_json::parse(
      R"({"num_ctx": 1000000000000000000, "top_k": -1e300, "num_batch": 7, "top_p": 1e300, "min_p": 0.25, "seed": "x"})");
  EXPECT_EQ(integer_option(options, "num_ctx", 1), std::numeric_limits<int>::max());
  EXPECT_EQ(integer_option(options, "num_ctx", 1, 100), 100);
  EXPECT_EQ(integer_option(options, "top_k", 1), std::numeric_limits<int>::min());
  EXPECT_EQ(integer_option(options, "num_batch", 1), 7);
  EXPECT_EQ(integer_option(options, "num_gpu", -1, 5), -1);
  EXPECT_EQ(integer_option(options, "seed", 3), 3);
  EXPECT_EQ(number_option(options, "top_p", 0), kNumberMax);
  EXPECT_EQ(number_option(options, "min_p", 0), 0.25);
  EXPECT_EQ(number_option(options, "temperature", 0.8), 0.8);
}

TEST(Parameters, RefuseWhatIsNone) {
  EXPECT_EQ(parse_parameter("nope", "1").error().message, "unknown parameter 'nope'");
  EXPECT_EQ(parse_parameter("num_ctx", "4k").error().message, "invalid int value [4k]");
  EXPECT_EQ(parse_parameter("num_ctx", "99999999999999999999").error().message,
            "invalid int value [99999999999999999999]");
  EXPECT_EQ(parse_parameter("temperature", "").error().message, "invalid float value []");
  EXPECT_EQ(parse_parameter("temperature", "nan").error().message, "invalid float value [nan]");
  EXPECT_EQ(parse_parameter("use_mmap", "yes").error().message, "invalid bool value [yes]");
}

TEST(Parameters, Accumulate) {
  ordered_json parameters = ordered_json::object();
  EXPECT_TRUE(add_parameter(parameters, "stop", "<a>").ok());
  EXPECT_TRUE(add_parameter(parameters, "num_ctx", "1").ok());
  EXPECT_TRUE(add_parameter(parameters, "stop", "<b>").ok());
  EXPECT_TRUE(add_parameter(parameters, "num_ctx", "+2").ok());
  EXPECT_TRUE(add_parameter(parameters, "use_mmap", "F").ok());
  EXPECT_TRUE(add_parameter(parameters, "mirostat", "whatever").ok());
  EXPECT_FALSE(add_parameter(parameters, "nope", "1").ok());
  EXPECT_EQ(parameters.dump(), R"({"stop":["<a>","<b>"],"num_ctx":2,"use_mmap":false})");
}

}  // namespace
}  // namespace drover
