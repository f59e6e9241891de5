#include "engine/template_error.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

constexpr std::string_view kSource =
    "\n------------\nWhile executing CallExpression at line 3, column 24 in source:\n...{{ raise_exception('x') }}...\n"
    "                ^\nError: ";

std::string told(std::string_view reason) {
  return template_error(std::string(kSource) + std::string(reason));
}

TEST(TemplateError, SaysWhatIsWrongInOneLine) {
  EXPECT_EQ(told("Jinja Exception: System message must be at the beginning."),
            "the model's chat template refuses this: System message must be at the beginning.");
  EXPECT_EQ(told("Jinja Exception: roles must alternate\nuser/assistant\n"),
            "the model's chat template refuses this: roles must alternate user/assistant");
  EXPECT_EQ(template_error("Jinja Exception: no tools"), "the model's chat template refuses this: no tools");
  EXPECT_EQ(told("Cannot perform operation in on undefined values"),
            "the model's chat template has a fault: Cannot perform operation in on undefined values");
  EXPECT_EQ(template_error("Missing tool name"), "Missing tool name");
  EXPECT_LT(told(std::string(1 << 20, 'x')).size(), 1100u);
}

TEST(TemplateError, ATemplateThatIsOfNoUseIsToldInOneLineToo) {
  const std::string start = "the model's chat template cannot be used: ";
  EXPECT_EQ(unusable_template(std::string(kSource) + "Jinja Exception: only\nthis"), start + "only this");
  EXPECT_EQ(unusable_template(std::string(kSource) + "Unknown filter 'x'"), start + "Unknown filter 'x'");
  EXPECT_EQ(unusable_template("std::exception"), start + "it cannot be parsed");
  EXPECT_LT(unusable_template(std::string(1 << 20, 'x')).size(), 1100u);
}

}  // namespace
}  // namespace drover
