#include "store/parameters.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(error_of(R"({"stop": "x"})"), "option \"stop\" must be of type array");
  EXPECT_EQ(error_of(R"({"stop": ["x", 1]})"), "option \"stop\" must be of an array of strings");
  EXPECT_NE(error_of("[]"), "");
}

TEST(Options, AreConvertedToTheirTypes) {
  const ordered_json checked = *check_options(ordered_json::parse(
      R"({"num_ctx": 4096.9, "temperature": 1, "seed": 1e300, "top_k": -1e300, "stop": ["a"], "nope": {}, "top_p": null})"));
  EXPECT_EQ(
      checked.dump(),
      R"({"num_ctx":4096,"temperature":1.0,"seed":9223372036854775807,"top_k":-9223372036854775808,"stop":["a"]})");
  EXPECT_EQ(check_options(nullptr)->dump(), "{}");
  EXPECT_EQ(check_options(ordered_json{{"seed", ~std::uint64_t{0}}})->dump(), R"({"seed":9223372036854775807})");
}

TEST(Options, OnlyWhatEndsAnEngineIsOutOfRange) {
  const auto error = [](const char* options) {
    const Result<void> checked = check_ranges(ordered_json::parse(options));
    return checked ? "" : checked.error().message;
  };
  EXPECT_EQ(error(R"({"num_thread": 512, "main_gpu": 127, "num_batch": 2147483647, "num_ctx": -1})"), "");
  EXPECT_EQ(error(R"({"num_thread": 513})"), "option \"num_thread\" must be at most 512");
  EXPECT_EQ(error(R"({"main_gpu": 1e300})"), "option \"main_gpu\" must be at most 127");
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
